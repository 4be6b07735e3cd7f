"""Streams in half precision: the file is checked as any other, and what is carried from frame to frame is float32."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto
from rich.console import Console
from streaming_graph.shortened import shorten_rings
from streaming_graph.step_of import integers, weight

import temport
from temport.exporter.declare.declaration import BEFORE
from temport.exporter.declare.options import as_settings
from temport.exporter.export import Exported, run_export
from temport.exporter.parity.result import FAIL, PASS
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.request import ExportRequest
from tests.small_models import SMALL, STREAMING, thorough_but


def exported(folder: Path) -> Exported:
    """A dense layer, a causal convolution and the sum so far."""
    text = """<ir_version: 9, opset_import: ["" : 18]> f (float[batch, seq, 4] x) => (float[batch, seq, 4] y) {
        d = MatMul (x, w) t = Transpose <perm = [0, 2, 1]> (d) c = Conv <pads = [2, 0]> (t, k)
        b = Transpose <perm = [0, 2, 1]> (c) s = CumSum (b, axis) y = MatMul (s, w)}"""
    model = onnx.parser.parse_model(text)
    weights = {"w": weight(4, 4), "k": weight(4, 4, 3), "axis": integers(1)[0]}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in weights.items())
    onnx.save(model, folder / "half.onnx")
    return temport.export(
        onnx=folder / "half.onnx",
        streaming=True,
        seq="4",
        batch="1",
        precision="fp16",
        runtimes=("onnxruntime_cpu",),
        out=folder / "bundle",
    )


def test_a_half_precision_stream_passes_its_gate(tmp_path: Path) -> None:
    made = exported(tmp_path)
    assert made.passed, made.report.reasons
    assert [(row.name, row.verdict) for row in made.report.checks] == [
        ("graph", PASS),
        ("weights", PASS),
        ("file", PASS),
    ]
    graph = onnx.shape_inference.infer_shapes(onnx.load(made.path / "model.onnx")).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16}
    of_sums = {kinds[n.output[0]] for n in graph.node if n.op_type in ("Add", "Sub")} & floats
    assert of_sums == {TensorProto.FLOAT}
    assert TensorProto.FLOAT16 in {kinds[n.output[0]] for n in graph.node if n.op_type == "Conv"}
    assert run_parity_of_bundle(
        made.path, ("onnxruntime_cpu",), source=str(tmp_path / "half.onnx"), console=Console(quiet=True)
    )


def exported_in_half(name: str, folder: Path) -> Exported:
    small = SMALL[name]
    request = ExportRequest(
        arch=small.arch.name,
        settings=tuple(as_settings(small.options)),
        seq="9",
        streaming=True,
        precision="fp16",
        runtimes=("onnxruntime_cpu",),
        out=folder / "bundle",
    )
    return run_export(request, Console(quiet=True))


@pytest.mark.parametrize("name", thorough_but(STREAMING, ("hybrid",)))
def test_an_architecture_passes_its_gate_in_half_precision(name: str, tmp_path: Path) -> None:
    """What it computes is in the half type, and what it carries is not."""
    made = exported_in_half(name, tmp_path)
    assert made.passed, made.report.reasons
    graph = onnx.shape_inference.infer_shapes(onnx.load(made.path / "model.onnx")).graph
    carried = {v.type.tensor_type.elem_type for v in graph.input if v.name.startswith(BEFORE)}
    assert carried <= {TensorProto.FLOAT, TensorProto.INT64}
    assert TensorProto.FLOAT16 in {v.type.tensor_type.elem_type for v in graph.value_info}


def test_a_ring_that_is_wrong_fails_in_half_precision_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check without a runtime sees it, where no rounding hides it."""
    shorten_rings(monkeypatch)
    made = exported(tmp_path)
    assert not made.passed
    assert {row.name: row.verdict for row in made.report.checks}["graph"] == FAIL
