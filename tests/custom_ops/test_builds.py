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
    for number, case in enumerate(table.cases):
        for dtype in table.dtypes if number % 3 == 0 else table.dtypes[:1]:
            off = wrong(table, case, native(table, case, dtype=dtype), dtype)
            assert not off, (op, str(case), dtype, off)
    if table.op.torch_op is None:  # whose named cases are few
        test_the_kernel_anywhere(op)
print(digest(), file=sys.stderr)
print(library_description(library_path()))
"""
"""All cases of all ops in one process, since the instruction set is chosen once in its life.

Of three cases one is run in half types too: what differs there is how numbers are read and written.
"""
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
    """ThreadSanitizer, and what the other build leaves out of undefined behaviour: offsets from null pointers."""
    program = build("tsan", ROOT / "build" / "native" / "tsan")
    result = subprocess.run([program, "60", "1"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout == "60 problems agree\n"


@pytest.mark.parametrize("checks", ["quick", pytest.param("all", marks=pytest.mark.thorough)])
@pytest.mark.parametrize(("program", "count"), [("check_kernels", 60), ("fuzz_ops", 10_000)])
def test_random_bytes_and_what_a_fuzzer_makes_of_them(
    program: str, count: int, checks: str, tmp_path: Path
) -> None:
    """Problems for the kernels, and nodes of any kind through the entry points of the runtime.

    With AddressSanitizer and UndefinedBehaviorSanitizer, and scratch buffers poisoned with NaN. The checks of pointers
    that take half the time to compile are of the tier `thorough`.
    """
    assert shutil.which("clang++"), "libFuzzer comes with Clang: apt-get install clang libclang-rt-14-dev"
    options = ("-DTEMPORT_UNSANITIZED=",) if checks == "all" else ()
    folder = "fuzz" if checks == "quick" else "fuzz_all"
    built = build("fuzz", ROOT / "build" / "native" / folder, program, *options)
    seeds = [random.Random(i).randbytes(96) for i in range(count)]
    if program == "fuzz_ops":
        seeds += [bytes.fromhex(seed) for seed in (NATIVE / "fuzz_ops_seeds.txt").read_text().split()]
    for i, seed in enumerate(seeds):
        (tmp_path / str(i)).write_bytes(seed)
    words = ["-max_total_time=2", "-max_len=96", "-print_final_stats=1", "-artifact_prefix=/tmp/"]
    result = subprocess.run([built, *words, tmp_path], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]
    (executed,) = re.findall(r"stat::number_of_executed_units:\s*(\d+)", result.stderr)
    assert int(executed) > len(seeds)
