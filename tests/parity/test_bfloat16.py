"""A bfloat16 file is run and judged: ONNX Runtime has no bfloat16 on a CPU, the reference evaluators do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from temport.exporter.build import rewrite, save
from temport.exporter.parity.before_rounding import BeforeRounding
from temport.exporter.parity.result import FAIL, PASS, ParityReport
from temport.exporter.parity.trial import Trial, cases_for
from temport.exporter.runtimes import runtime_named
from tests.parity.small_models import MODELS, small
from tests.small_models import thorough_but

RUNTIMES = ("onnx_reference", "op_reference")


def parity(arch: str, path: Path, spoil: float = 0.0) -> ParityReport:
    """Parity of a small model, with every bfloat16 weight of its file multiplied by `1 + spoil`."""
    right = small(arch, precision="bfloat16")
    before = BeforeRounding()
    save(rewrite(right.traced, right.declaration, before), path, external_data=False)
    model = onnx.load(path)
    weights = [t for t in model.graph.initializer if t.data_type == TensorProto.BFLOAT16]
    assert weights
    for tensor in weights if spoil else ():
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(
            numpy_helper.from_array((array * np.float32(1 + spoil)).astype(array.dtype), tensor.name)
        )
    onnx.save(model, path)
    trial = Trial.of(right.declaration, path, right.module, before)
    return trial.run(
        cases_for(right.declaration, ()), [runtime_named(n) for n in RUNTIMES], None, lambda *a: None
    )


@pytest.mark.parametrize("arch", thorough_but(MODELS, ("mega", "hybrid")))
def test_every_architecture_is_judged(arch: str, tmp_path: Path) -> None:
    report = parity(arch, tmp_path / "model.onnx")
    assert report.passed, report.reasons
    assert [row.name for row in report.checks] == ["graph", "weights", "file"]
    assert {r.verdict for row in report.checks for r in row.results} == {PASS}
    for row in report.runtimes:  # torch itself is lost where one key takes all, or a sum passes through 0
        assert sum(result.verdict == PASS for result in row.results) >= len(row.results) - 2


def test_a_wrong_file_fails(tmp_path: Path) -> None:
    report = parity("sliding_window", tmp_path / "model.onnx", spoil=0.3)
    assert [row.verdict for row in (*report.checks, *report.runtimes)] == [PASS, PASS, FAIL, FAIL, FAIL]
    failed = (report.checks[-1], *report.runtimes)
    assert all(row.divergence is not None and row.divergence.where == "file" for row in failed)


def test_a_file_wrong_by_less_than_rounding_fails(tmp_path: Path) -> None:
    """Weights off by two units in the last place, which no runtime's numbers show."""
    report = parity("sliding_window", tmp_path / "model.onnx", spoil=0.012)
    assert report.checks[-1].verdict == FAIL
    assert report.reasons[0].startswith("file: ")
