"""The same library, runner and op library for 64-bit ARM, replayed under emulation."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toolchain import call, exclusive, need

from temport.exporter.parity.gate import gate
from temport.exporter.parity.serial import runtime_row

AARCH64 = Path(__file__).parents[2] / "deploy" / "aarch64"


@pytest.fixture(scope="module")
def emulated() -> Path:
    need("aarch64-linux-gnu-g++")
    need("qemu-aarch64-static")
    with exclusive("aarch64"):
        call(AARCH64 / "prepare.sh", PYTHON=sys.executable, RUNNER_FLAGS="-O0")
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
    program = AARCH64 / "build" / "ops" / "check_kernels"
    assert call("qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu", program, "100", "3") == (
        "100 problems agree\n"
    )


def test_a_stream_under_emulation(emulated: Path, stepped: Callable[[str], Path]) -> None:
    row = runtime_row(json.loads(call(emulated, stepped("sliding_window"), "--replay"))["runtimes"][0])
    assert row.name == "cpp-aarch64" and gate([row]) == ("pass", ())


def test_refusals_reach_through_the_emulator(emulated: Path, bundle: Path) -> None:
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"\0")
    done = subprocess.run([emulated, bundle, "--replay"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "model.onnx has" in done.stderr
