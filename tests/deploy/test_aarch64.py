"""The same library, runner and op library for 64-bit ARM, replayed under emulation."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toolchain import CPP, call, exclusive, need

from temport.exporter.parity.gate import gate
from temport.exporter.parity.serial import runtime_row

AARCH64 = Path(__file__).parents[2] / "deploy" / "aarch64"


@pytest.fixture(scope="module")
def emulated() -> Path:
    """What quick compilers make; `test_as_it_is_released` is about the others."""
    need("aarch64-linux-gnu-g++")
    need("clang++")
    need("wasm-ld")
    need("qemu-aarch64-static")
    quick = {"RUNNER_PRESET": "aarch64-quick", "RUNNER_FLAGS": "-O0", "OPS_FLAGS": "-O1"}
    with exclusive("aarch64"):
        call(AARCH64 / "prepare.sh", PYTHON=sys.executable, **quick)
    return AARCH64 / "temport-run"


@pytest.mark.parametrize(
    ("arch", "ops"),
    [
        ("mega", "none"),
        ("lightning", "neon"),
        pytest.param("mega", "neon", marks=pytest.mark.thorough),
        pytest.param("lightning", "none", marks=pytest.mark.thorough),
    ],
)
def test_replay_under_emulation(emulated: Path, exported: Callable[[str], Path], arch: str, ops: str) -> None:
    chosen = () if ops == "neon" else ("--ops", "none")
    printed = json.loads(call(emulated, exported(arch), "--replay", *chosen))
    row = runtime_row(printed["runtimes"][0])
    assert printed["machine"] == "aarch64" and row.name == "cpp-aarch64"
    assert gate([row]) == ("pass", ())
    assert row.path.startswith("native kernel" if ops == "neon" else "function body")


def test_random_problems_under_emulation(emulated: Path) -> None:
    """The NEON kernels against the definition in double, at scores up to 1e38."""
    with exclusive("aarch64"):
        call("cmake", "--build", AARCH64 / "build" / "ops", "--target", "check_kernels", "-j2")
    assert_problems_agree(AARCH64 / "build" / "ops" / "check_kernels")


def assert_problems_agree(program: Path) -> None:
    said = call("qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu", program, "100", "3")
    assert said == "100 problems agree\n"


@pytest.mark.thorough
def test_as_it_is_released(emulated: Path, exported: Callable[[str], Path]) -> None:
    """All by GCC, the kernels at -O3."""
    ops = CPP.parents[1] / "custom_ops" / "native"
    with exclusive("aarch64-released"):
        call("cmake", "--preset", "aarch64", "-DCMAKE_CXX_FLAGS_RELEASE=-O0", cwd=CPP)
        call("cmake", "--build", "--preset", "aarch64", "-j2", "--target", "temport-run", cwd=CPP)
        call("cmake", "--preset", "aarch64", cwd=ops)
        call(
            "cmake",
            "--build",
            "--preset",
            "aarch64",
            "-j2",
            "--target",
            "temport_ops",
            "check_kernels",
            cwd=ops,
        )
    built = CPP.parents[1] / "build" / "native" / "aarch64"
    assert_problems_agree(built / "check_kernels")
    call(emulated, "--help")  # makes the folder that qemu looks into first
    printed = call(
        "qemu-aarch64-static",
        "-cpu",
        "cortex-a76",
        "-L",
        AARCH64 / "build" / "prefix",
        CPP / "build" / "aarch64" / "temport-run",
        exported("lightning"),
        "--replay",
        TEMPORT_ONNXRUNTIME_LIBRARY=str(AARCH64 / "build" / "libonnxruntime.so"),
        TEMPORT_OPS_LIBRARY=str(built / "libtemport_ops.so"),
    )
    row = runtime_row(json.loads(printed)["runtimes"][0])
    assert gate([row]) == ("pass", ()) and row.path.startswith("native kernel")


def test_a_stream_under_emulation(emulated: Path, stepped: Callable[[str], Path]) -> None:
    row = runtime_row(json.loads(call(emulated, stepped("sliding_window"), "--replay"))["runtimes"][0])
    assert row.name == "cpp-aarch64" and gate([row]) == ("pass", ())


def test_refusals_reach_through_the_emulator(emulated: Path, bundle: Path) -> None:
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"\0")
    done = subprocess.run([emulated, bundle, "--replay"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "model.onnx has" in done.stderr
