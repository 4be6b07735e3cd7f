"""The same bits on every processor that fuses multiply-adds, whatever its vectors and its compiler are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from temport.exporter.native.isa import ISAS
from tests.deploy.toolchain import need
from tests.native_engine.targets import FRAMES, SMALL, StepModel, drive, link

Model = Callable[[str], StepModel]
CALLERS_MODE = """
#define _GNU_SOURCE
#include <fenv.h>
#include <stdlib.h>
static void check(void) {
  if (fegetround() != FE_UPWARD || fetestexcept(FE_ALL_EXCEPT)) abort();
}
__attribute__((constructor)) static void set(void) {
  fesetround(FE_UPWARD);
  feenableexcept(FE_ALL_EXCEPT);
  atexit(check);
}
"""


INT4 = "hybrid, int4"
PAIRS = [(arch, isa) for isa in ("avx512", "avx2", "neon") for arch in (*SMALL, INT4)]
PAIRS += [(INT4, isa) for isa in ("avx2vnni", "neondot")]
REPEATED = {(arch, isa) for isa in ("avx2", "neon") for arch in ("sliding_window", "lightning")}
REPEATED |= {
    ("lightning", "avx512"),
    *((INT4, isa) for isa in ("avx512", "avx2", "neon")),
    ("hybrid", "neon"),
    ("hybrid", "avx2"),
}
"""What the others leave to see: kernels that AVX-512 is asked of, in vectors that other kernels are asked of; what an
engine of int4 has beside its integers, which the op library multiplies too; what another compiler is asked of below."""


@pytest.mark.parametrize(
    ("arch", "isa"),
    [pytest.param(*pair, marks=[pytest.mark.thorough] if pair in REPEATED else []) for pair in PAIRS],
)
def test_the_same_bits(model: Model, scalar: Callable[[str], bytes], arch: str, isa: str) -> None:
    compiler, prefix, flags = "g++", [], []
    if ISAS[isa].machine == "aarch64":
        compiler, prefix, flags = need("aarch64-linux-gnu-g++"), [need("qemu-aarch64-static")], ["-static"]
    elif not ISAS[isa].runs_here():
        pytest.skip(f"this processor has no {isa}")
    engine, report = model(arch).engine(isa, engine_isa=isa, cc=compiler)
    assert (arch == INT4) == (report.weights.get("int4", 0) > 0.9 * report.memory["weights"] / 2)
    assert report.fuses and set(report.undefined) <= {"memcpy", "memset", "_GLOBAL_OFFSET_TABLE_"}
    program = link(compiler.replace("g++", "gcc"), engine, *flags)
    assert drive([*prefix, program], engine, model(arch).frames()) == scalar(arch)


def test_the_bits_are_those_of_a_ring_of_several_sums(model: Model, scalar: Callable[[str], bytes]) -> None:
    """Each sees more keys than are weighed in one sum; ONNX Runtime on the bodies says what they give."""
    stream = model("sliding_window")
    session = onnxruntime.InferenceSession(stream.path / "model.onnx", providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), [value.name for value in session.get_outputs()]
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}
    given = {value.name: np.zeros(value.shape, types[value.type]) for value in inputs}
    (frame,) = (value.name for value in inputs if not value.name.startswith("state."))
    truth = []
    for row in stream.frames():
        given[frame] = row.reshape(given[frame].shape)
        found = dict(zip(outputs, session.run(None, given), strict=True))
        truth.append(found.pop("output").ravel())
        given |= {name.removeprefix("next_"): state for name, state in found.items()}
    right = np.array(truth)
    bits = np.frombuffer(scalar("sliding_window"), np.float32)[: right.size].reshape(right.shape)
    np.testing.assert_allclose(bits, right, rtol=0, atol=1e-3 * np.abs(right).max())


def test_the_same_bits_by_another_compiler(model: Model, scalar: Callable[[str], bytes]) -> None:
    engine, _ = model("hybrid").engine("clang", engine_isa="avx2", cc=need("clang++"))
    assert drive([link("clang", engine)], engine, model("hybrid").frames()) == scalar("hybrid")


def test_the_same_bits_whatever_the_callers_mode(
    model: Model, scalar: Callable[[str], bytes], tmp_path: Path
) -> None:
    """A program that rounds upwards, and that any number which is not exact would end."""
    right, mode = scalar("hybrid"), tmp_path / "mode.c"
    mode.write_text(CALLERS_MODE)
    engine = model("hybrid").path / "fused" / "engine"
    program = link("gcc", engine, str(mode), "-Wl,--no-as-needed", "-lm")
    assert drive([program], engine, model("hybrid").frames()) == right


def test_without_fused_sums_they_are_others(model: Model, scalar: Callable[[str], bytes]) -> None:
    """So the comparison sees a rounding; the numbers are as good."""
    twice, once = model("hybrid").unfused(), scalar("hybrid")
    assert twice != once and len(twice) == len(once)
    outputs = FRAMES * 24
    a, b = (np.frombuffer(content, np.float32)[:outputs] for content in (once, twice))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max())
