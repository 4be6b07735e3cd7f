"""The kernels of every instruction set of this machine, and under sanitizers, against the definition in double."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from bits import digest
from one_node import native_options

from temport.custom_ops.library import library_description, library_path

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "custom_ops" / "native"
FUSED = {"avx2", "avx512", "neon"}
"""Those that round once for a product and its sum: they give the same bits."""
LEVELS = {"sse42": "sse4_2", "avx2": "avx2", "avx512": "avx512f", "neon": "asimd"}
FORCED = """
import sys
from bits import digest
from cases import TABLES
from one_node import native
from test_kernels import test_the_kernel_anywhere, wrong
from temport.custom_ops.library import library_description, library_path
for op, table in TABLES.items():
    for case in table.cases:
        for dtype in table.dtypes:
            off = wrong(table, case, native(table, case, dtype=dtype), dtype)
            assert not off, (op, str(case), dtype, off)
    if table.op.torch_op is None:  # whose named cases are few
        test_the_kernel_anywhere(op)
print(digest(), file=sys.stderr)
print(library_description(library_path()))
"""
"""All cases of all ops in one process, since the instruction set is chosen once in its life."""
SAID = """
from temport.custom_ops.library import library_description, library_path
print(library_description(library_path()))
"""
"""For the level that the library chooses by itself, under which every other test runs the same cases."""


def cpu_flags() -> set[str]:
    text = Path("/proc/cpuinfo").read_text()
    line = next(line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return set(line.split(":")[1].split())


def run_python(code: str, isa: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join((str(ROOT / "deploy" / "python"), str(Path(__file__).parent)))
    environment = os.environ | {"TEMPORT_ISA": isa, "PYTHONPATH": paths}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("isa", LEVELS)
def test_every_instruction_set_of_this_machine(isa: str) -> None:
    """Forced by TEMPORT_ISA, the library says so; one this processor has not is an error that names what it has."""
    native_options()
    own = library_description(library_path()).split()[-1]
    result = run_python(SAID if own == isa else FORCED, isa)
    if LEVELS[isa] in cpu_flags():
        assert result.stdout.strip() == f"{version('temport')}, {isa}", result.stderr
        if own != isa and {own, isa} <= FUSED:
            assert result.stderr.strip().splitlines()[-1] == digest()
    else:
        assert f"TEMPORT_ISA is '{isa}'; on this processor it must be one of" in result.stderr


def build(preset: str, folder: Path, program: str = "check_kernels") -> Path:
    """A program of that build preset, built for this machine's compiler."""
    cmake = shutil.which("cmake")
    assert cmake is not None, "cmake is needed to build the sanitizer presets; pip install cmake."
    for command in (
        [cmake, "--preset", preset, "-B", str(folder)],
        [cmake, "--build", str(folder), "--target", program, "-j2"],
    ):
        result = subprocess.run(command, cwd=NATIVE, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
    return folder / program


def test_stage_bench_sees_every_stage() -> None:
    program = build("stages", ROOT / "build" / "native" / "stages", "stage_bench")
    result = subprocess.run([program, "0.01", "window"], capture_output=True, text=True, check=True)
    rows = result.stdout.splitlines()[2:]
    assert [row.split()[2] for row in rows] == ["60", "512", "2048", "8192"]
    for row in rows:
        stages = [float(share) for share in re.findall(r"([\d.]+) %", row)[1:]]
        assert len(stages) == 8
        assert min(stages[:4]) > 1  # packing, scores, softmax, weighted sums
    refused = subprocess.run([program, "soon"], capture_output=True, text=True)
    assert (refused.returncode, refused.stderr) == (2, "'soon' is not a number of seconds above 0\n")


@pytest.mark.parametrize("preset", ["asan", "tsan"])
def test_kernels_under_sanitizers(preset: str) -> None:
    """Random problems on up to three threads; `asan` also has UBSan and scratch buffers poisoned with NaN."""
    program = build(preset, ROOT / "build" / "native" / preset)
    result = subprocess.run([program, "60", "1"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout == "60 problems agree\n"


def test_nodes_of_any_kind_under_sanitizers() -> None:
    """Attributes, shapes, element types, inputs and outputs at random, through the entry points of the runtime."""
    program = build("asan", ROOT / "build" / "native" / "asan", "fuzz_ops")
    result = subprocess.run([program, "10000", "1"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout == "10000 nodes are refused or right\n"


@pytest.mark.skipif(
    shutil.which("clang++") is None, reason="libFuzzer comes with Clang, which is not installed"
)
@pytest.mark.parametrize("program", ["check_kernels", "fuzz_ops"])
def test_fuzzer_finds_nothing_in_four_seconds(program: str, tmp_path: Path) -> None:
    built = build("fuzz", ROOT / "build" / "native" / "fuzz", program)
    for i, seed in enumerate((NATIVE / "fuzz_ops_seeds.txt").read_text().split()):
        (tmp_path / str(i)).write_bytes(bytes.fromhex(seed))
    options = ["-max_total_time=4", "-max_len=96", "-print_final_stats=1", "-artifact_prefix=/tmp/"]
    command = [built, *options, *([tmp_path] if program == "fuzz_ops" else [])]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]
    assert "stat::number_of_executed_units" in result.stderr
