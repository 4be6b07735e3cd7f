"""Quantised graphs: a value between two integers may be either, any other is held to the bound, and none is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.parity.cases import Case
from temport.exporter.parity.oracle import find_truths
from temport.exporter.request import ExportRequest, declared
from temport.exporter.runtimes.onnxruntime_cpu import OrtSession
from temport.exporter.runtimes.subject import Subject

STEP, ROWS = 0.25, 3


def quantised(kind: int = TensorProto.INT8) -> onnx.ModelProto:
    """x in steps of a quarter."""
    zero = helper.make_tensor("zero", kind, [], [0])
    step = numpy_helper.from_array(np.array(STEP, np.float32), "step")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["y"]),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, ROWS]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], [step, zero])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize(
    ("value", "between"), [(2.125, True), (2.125 + 1e-6, True), (2.13, False), (2.0, False)]
)
def test_only_what_lies_between_two_integers_is_open(value: float, between: bool, tmp_path: Path) -> None:
    onnx.save(quantised(), tmp_path / "m.onnx")
    declaration, module = declared(ExportRequest(onnx=tmp_path / "m.onnx"))
    case = Case("own", "own", {"x": np.array([[value, -1.0, 31.0]], np.float32)})
    (truth,) = find_truths(Subject(declaration, tmp_path / "m.onnx", module), [case])
    bound = truth.bounds["y"]
    if between:
        assert bound.torch_error == STEP and bound.judgeable
        assert (
            bound.allowed is not None and STEP < bound.allowed < 2.01 * STEP
        )  # one step is right, two are too many
    else:
        assert bound.judgeable and bound.allowed is not None and bound.allowed < STEP / 1000


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.INT16])
def test_the_truth_saturates_however_large_a_value_is(kind: int) -> None:
    model = quantised(kind)
    x = {"x": np.array([[3e9, -1e30, np.inf]], np.float32)}
    found = OnnxModule(model).double()(torch.from_numpy(x["x"]))["y"].numpy()
    largest = {TensorProto.INT8: 127, TensorProto.INT16: 32767}[kind]
    assert found.tolist() == [[STEP * largest, -STEP * (largest + 1), STEP * largest]]
    if kind == TensorProto.INT8:
        assert np.array_equal(OrtSession(model.SerializeToString(), "", 1).run(x)["y"], found)
