"""The kernels of every instruction set of this machine, and under sanitizers, against the definition in double."""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import onnx
import pytest
from bits import digest
from cases import TABLES
from one_node import model, native_options

from temport.custom_ops.library import library_description, library_path

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "custom_ops" / "native"
FUSED = {"avx2", "avx512", "neon"}
"""Those that round once for a product and its sum: they give the same bits."""
LEVELS = {"sse42": "sse4_2", "avx2": "avx2", "avx512": "avx512f", "neon": "asimd"}
FORCED = """
import sys
from dataclasses import replace
from bits import Digest
from cases import TABLES
from one_node import native
from test_integer_weights import test_integers_are_the_numbers_that_they_mean
from test_kernels import test_the_kernel_anywhere, wrong
from temport.custom_ops.library import library_description, library_path
digest = Digest()
for op, table in TABLES.items():
    for number, case in enumerate(table.cases):
        for dtype in table.dtypes if number % 3 == 0 else table.dtypes[:1]:
            outputs = native(table, case, dtype=dtype)
            off = wrong(table, case, outputs, dtype)
            assert not off, (op, str(case), dtype, off)
            digest.add(outputs, dtype)
    if table.op.torch_op is None:  # whose named cases are few
        TABLES[op] = replace(table, examples=table.examples // int(sys.argv[1]))
        test_the_kernel_anywhere(op)
test_integers_are_the_numbers_that_they_mean()
print(digest, file=sys.stderr)
print(library_description(library_path()))
"""
"""All cases of all ops in one process, since the instruction set is chosen once in its life.

Of three cases one is run in half types too: what differs there is how numbers are read and written.
"""
SAID = """
import sys
import onnxruntime
from temport.custom_ops.library import library_description, library_path
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(str(library_path()))
onnxruntime.InferenceSession(sys.argv[1], options)
print(library_description(library_path()))
"""
"""For the level that the library chooses by itself, under which every other test runs the same cases, and for none."""


def cpu_flags() -> set[str]:
    text = Path("/proc/cpuinfo").read_text()
    line = next(line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return set(line.split(":")[1].split())


def run_python(code: str, isa: str, *words: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join((str(ROOT / "deploy" / "python"), str(Path(__file__).parent)))
    environment = os.environ | {"TEMPORT_ISA": isa, "PYTHONPATH": paths}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("part", [4, pytest.param(1, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("isa", LEVELS)
def test_every_instruction_set_of_this_machine(isa: str, part: int, tmp_path: Path) -> None:
    """Forced by TEMPORT_ISA, the library says so; one this processor has not is an error that names what it has.

    What the kernels are tried on anywhere is less than at the library's own level: one in `part`.
    """
    native_options()
    own = library_description(library_path()).split()[-1]
    here = LEVELS[isa] in cpu_flags()
    if here and own != isa:
        result = run_python(FORCED, isa, str(part))
    else:
        table = next(iter(TABLES.values()))
        onnx.save(model(table, table.cases[0]), tmp_path / "model.onnx")
        result = run_python(SAID, isa, str(tmp_path / "model.onnx"))
    if here:
        assert result.stdout.strip() == f"{version('temport')}, {isa}", result.stderr
        if own != isa and {own, isa} <= FUSED:
            assert result.stderr.strip().splitlines()[-1] == str(digest())
    else:
        assert f"TEMPORT_ISA is '{isa}'; on this processor it must be one of" in result.stderr


def build(preset: str, folder: Path, program: str = "check_kernels", *options: str) -> Path:
    """A program of that build preset, built for this machine's compiler."""
    cmake = shutil.which("cmake")
    assert cmake is not None, "cmake is needed to build the sanitizer presets; pip install cmake."
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # another test process may build another program of it
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (
            [cmake, "--preset", preset, "-B", str(folder), *options],
            [cmake, "--build", str(folder), "--target", program, "-j2"],
        ):
            result = subprocess.run(command, cwd=NATIVE, capture_output=True, text=True)
            assert result.returncode == 0, result.stdout + result.stderr
    return folder / program


STAGES = ["packing", "scores", "softmax", "weighted", "state", "phi(q) S", "store"]
LINEAR = ("state", "phi(q) S")
"""Those that only attention with a linear branch has."""


@pytest.mark.thorough  # a tool for who works on the kernels
def test_stage_bench_sees_every_stage() -> None:
    quick = ("-DCMAKE_BUILD_TYPE=Quick", "-DCMAKE_CXX_FLAGS_QUICK=-O1")  # half the time to compile
    program = build("stages", ROOT / "build" / "native" / "quick_stages", "stage_bench", *quick)
    result = subprocess.run([program, "0.05"], capture_output=True, text=True, check=True)
    rows = result.stdout.splitlines()[2:]
    assert [row[:16].strip() for row in rows] == ["window 60"] * 4 + ["causal", "block-linear 64"]
    for row in rows:
        *stages, rest = [float(share) for share in re.findall(r"([\d.]+) %", row)[1:]]
        # a stage without a clock has 0.0 exactly, and its time is the rest's; what the least share is, load decides
        seen = [name for name, share in zip(STAGES, stages, strict=True) if share > 0]
        assert seen == (STAGES if row.startswith("block") else [s for s in STAGES if s not in LINEAR]), row
        assert rest < 50, row
    refused = subprocess.run([program, "soon"], capture_output=True, text=True)
    assert (refused.returncode, refused.stderr) == (2, "'soon' is not a number of seconds above 0\n")


def test_kernels_on_three_threads_under_a_sanitizer() -> None:
    program = build("tsan", ROOT / "build" / "native" / "tsan")
    result = subprocess.run([program, "60", "1"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout == "60 problems agree\n"


@pytest.mark.parametrize("level", ["-O0", pytest.param("-O1", marks=pytest.mark.thorough)])
@pytest.mark.parametrize(("program", "count"), [("check_kernels", 60), ("fuzz_ops", 10_000)])
def test_random_bytes_and_what_a_fuzzer_makes_of_them(
    program: str, count: int, level: str, tmp_path: Path
) -> None:
    """Problems for the kernels, and nodes of any kind through the entry points of the runtime.

    With AddressSanitizer and UndefinedBehaviorSanitizer, and scratch buffers poisoned with NaN. Clang takes a third of
    the time without optimisation, which no check needs.
    """
    assert shutil.which("clang++"), "libFuzzer comes with Clang: apt-get install clang libclang-rt-14-dev"
    folder = ROOT / "build" / "native" / f"fuzz{level}"
    built = build("fuzz", folder, program, f"-DCMAKE_CXX_FLAGS_SANITIZE={level} -g1")
    seeds = [random.Random(i).randbytes(96) for i in range(count)]
    if program == "fuzz_ops":
        seeds += [bytes.fromhex(seed) for seed in (NATIVE / "fuzz_ops_seeds.txt").read_text().split()]
    for i, seed in enumerate(seeds):
        (tmp_path / str(i)).write_bytes(seed)
    runs = len(seeds) + len(seeds) // 10
    # without entropy, whose sums over so many seeds take as long as their runs
    words = [f"-runs={runs}", "-seed=1", "-entropic=0", "-max_len=96", "-print_final_stats=1"]
    words += ["-artifact_prefix=/tmp/", tmp_path]
    result = subprocess.run([built, *words], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]
    (executed,) = re.findall(r"stat::number_of_executed_units:\s*(\d+)", result.stderr)
    assert int(executed) >= runs
