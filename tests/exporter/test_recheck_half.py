"""`temport parity` on a half-precision bundle: the recorded truths judge the file as exactly as the export did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from rich.console import Console

from temport.exporter.bundle.directory import open_bundle, write_manifest
from temport.exporter.export import run_export
from temport.exporter.parity.result import FAIL, PASS, ParityReport
from temport.exporter.parity.serial import read_json
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.request import ExportRequest
from tests.parity.small_models import MODELS
from tests.small_models import thorough_but

QUIET = Console(quiet=True)
RUNTIME = {"fp16": "onnxruntime_cpu", "bf16": "op_reference"}
Spoil = Callable[[onnx.ModelProto], None]


@pytest.fixture(scope="module", params=thorough_but(RUNTIME, ("fp16",)))
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param) / "bundle"
    asked = ExportRequest(
        arch="mega",
        settings=MODELS["mega"],
        seq="20",
        precision=request.param,
        runtimes=(RUNTIME[request.param],),
        out=out,
    )
    assert run_export(asked, QUIET).passed
    return out


def again(bundle: Path, out: Path, *inputs: Path) -> ParityReport:
    runtime = RUNTIME["fp16" if open_bundle(bundle).declaration.precision == "float16" else "bf16"]
    run_parity_of_bundle(bundle, (runtime,), inputs, out, console=QUIET)
    return read_json(out / "report.json")


def test_an_export_and_its_repetition_ask_the_same(bundle, tmp_path):
    first, second = read_json(bundle / "report.json"), again(bundle, tmp_path / "again")
    assert [row.name for row in first.checks] == ["graph", "weights", "file"]
    assert [row.name for row in second.checks] == ["source", "weights", "file"]
    assert second.passed
    assert first.cases == second.cases
    shares = [
        [[output.share for output in result.outputs.values()] for result in report.runtimes[0].results]
        for report in (first, second)
    ]
    assert np.allclose(*shares, rtol=1e-9)
    assert all(bound.weights for case in first.cases for bound in case.bounds.values())


def test_own_inputs_are_judged_by_the_file_that_was_proved(bundle, tmp_path):
    np.save(tmp_path / "mine.npy", np.random.default_rng(1).standard_normal((1, 20, 10)))
    report = again(bundle, tmp_path / "again", tmp_path / "mine.npy")
    assert report.passed
    assert report.runtimes[0].results[-1].case == "real-mine"
    names = {row.name: [result.case for result in row.results] for row in report.checks}
    assert "real-mine" in names["weights"] and "real-mine" not in names["file"]


def one_weight(model: onnx.ModelProto) -> None:
    """One element of one half weight, one unit in the last place further."""
    tensor = max(
        (t for t in model.graph.initializer if t.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16)),
        key=lambda t: len(t.raw_data),
    )
    bits = np.frombuffer(tensor.raw_data, np.uint16).copy()
    bits[0] += 1
    tensor.raw_data = bits.tobytes()


def norm(model: onnx.ModelProto) -> None:
    """The gain of a layer normalisation, one part in a thousand more."""
    tensor = next(t for t in model.graph.initializer if "norm" in t.name and "weight" in t.name)
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((value * np.float32(1.001)).astype(value.dtype), tensor.name))


@pytest.mark.parametrize("spoil", [one_weight, norm])
def test_a_file_changed_by_less_than_rounding_is_red(bundle, tmp_path, spoil: Spoil):
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in bundle.iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    model = onnx.load(changed / "model.onnx")
    spoil(model)
    onnx.save(model, changed / "model.onnx")
    write_manifest(changed, open_bundle(bundle).declaration, [], {})
    report = again(changed, tmp_path / "again")
    assert [row.verdict for row in report.checks] == [PASS, PASS, FAIL]
    assert report.reasons[0].startswith("file: ")


def test_vectors_keep_every_rule(bundle):
    for truth in read_vectors(bundle / "vectors.npz"):
        ((name, output),) = truth.outputs.items()
        assert truth.limits[name].elements.shape == output.shape
        assert truth.source is not None and not np.array_equal(truth.source.outputs[name], output)
        assert truth.bounds[name].allowed_weights
