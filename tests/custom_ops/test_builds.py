"""The kernels of every instruction set of this machine, and under sanitizers, against the definition in double."""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import pytest
from case import Array, Case, OpCases
from cases import TABLES
from one_node import model, native, native_options
from test_integer_weights import Run, try_integers
from test_kernels import Kernel, try_anywhere, wrong

from temport.custom_ops.library import library_description, library_path
from tests.instruction_sets import HERE, LEVELS, Forced

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "custom_ops" / "native"
FUSED = {"avx2", "avx512", "neon"}
"""Those that round once for a product and its sum: they give the same bits."""
SAID = """
import sys
import onnxruntime
from temport.custom_ops.library import library_description, library_path
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(str(library_path()))
onnxruntime.InferenceSession(sys.argv[1], options)
print(library_description(library_path()))
"""


def of(process: Forced) -> Kernel:
    """The kernels of another process, called as those of this one."""

    def kernel(table: OpCases, case: Case, threads: int = 1, **options: Any) -> dict[str, Array]:
        return process.run(model(table, case, **options).SerializeToString(), case.inputs, threads)

    return kernel


def running(process: Forced) -> Run:
    return lambda proto, case: process.run(proto.SerializeToString(), case.inputs)


@pytest.mark.parametrize("part", [6, pytest.param(1, marks=pytest.mark.thorough)])
def test_every_instruction_set_of_this_machine(part: int) -> None:
    """All cases once more, one in three in half types too: what differs there is how numbers are read and written.

    Levels that fuse give the same bits; where the library's own does, every other test finds these bits right. What the
    kernels are tried on anywhere is less than there: one in `part`, of ops whose named cases are few.
    """
    native_options()
    own = library_description(library_path()).split()[-1]
    with ExitStack() as stack:
        processes = {isa: stack.enter_context(Forced(isa)) for isa in HERE if isa != own}
        for isa, process in processes.items():
            assert process.description == f"{version('temport')}, {isa}"
        kernels = {isa: of(process) for isa, process in processes.items()}
        for op, table in TABLES.items():
            for number, case in enumerate(table.cases):
                for dtype in table.dtypes if number % 3 == 0 else table.dtypes[:1]:
                    same_bits = FUSED & {own} and dtype == "float32"
                    expected = native(table, case) if same_bits else {}
                    for isa, kernel in kernels.items():
                        outputs = kernel(table, case, dtype=dtype)
                        if same_bits and isa in FUSED:
                            off = {n for n, y in outputs.items() if y.tobytes() != expected[n].tobytes()}
                        else:
                            off = wrong(table, case, outputs, dtype).keys()
                        assert not off, (isa, op, str(case), dtype, off)
            if table.op.torch_op is None:
                try_anywhere(table, table.examples // part, kernels.values())
        try_integers(60 // part, [running(process) for process in processes.values()])


@pytest.mark.parametrize("isa", LEVELS)
def test_an_instruction_set_is_said_or_refused(isa: str, tmp_path: Path) -> None:
    """Forced by TEMPORT_ISA, the library says so; one this processor has not is an error that names what it has."""
    table = next(iter(TABLES.values()))
    onnx.save(model(table, table.cases[0]), tmp_path / "model.onnx")
    result = subprocess.run(
        [sys.executable, "-c", SAID, tmp_path / "model.onnx"],
        env=os.environ | {"TEMPORT_ISA": isa, "PYTHONPATH": str(ROOT / "deploy" / "python")},
        capture_output=True,
        text=True,
    )
    if isa in HERE:
        assert result.stdout.strip() == f"{version('temport')}, {isa}", result.stderr
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
