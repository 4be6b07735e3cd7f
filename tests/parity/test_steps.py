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
from temport.exporter.parity.compare import CEILING, judge
from temport.exporter.parity.oracle import find_truths
from temport.exporter.parity.result import FAIL, ILL
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


@pytest.mark.parametrize("rounds", [True, False])
def test_a_source_may_be_far_off_only_where_it_rounds_to_integers(rounds: bool, tmp_path: Path) -> None:
    """By more than a thousandth, with a sum that float32 does not hold; three steps are too many for either."""
    model = quantised()
    offset = numpy_helper.from_array(np.array(2.0**17, np.float32), "offset")
    away = [helper.make_node("Add", ["x", "offset"], ["s"]), helper.make_node("Sub", ["s", "offset"], ["b"])]
    rest = list(model.graph.node) if rounds else [helper.make_node("Identity", ["x"], ["y"])]
    rest[0].input[0] = "b"
    del model.graph.node[:]
    model.graph.node.extend([*away, *rest])
    model.graph.initializer.append(offset)
    onnx.save(model, tmp_path / "m.onnx")
    declaration, module = declared(ExportRequest(onnx=tmp_path / "m.onnx"))
    x = np.array([[2.1325, -1.0, 5.5]], np.float32)
    (truth,) = find_truths(Subject(declaration, tmp_path / "m.onnx", module), [Case("own", "own", {"x": x})])
    bound, y = truth.bounds["y"], truth.outputs["y"]
    assert bound.torch_error is not None and bound.scale is not None
    assert bound.torch_error > CEILING["float32"] * bound.scale
    assert bound.judgeable is rounds
    verdict = judge(y + 3 * STEP, y, bound, "float32").verdict
    assert verdict == (FAIL if rounds else ILL)


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.INT16])
def test_the_truth_saturates_however_large_a_value_is(kind: int) -> None:
    model = quantised(kind)
    x = {"x": np.array([[3e9, -1e30, np.inf]], np.float32)}
    found = OnnxModule(model).double()(torch.from_numpy(x["x"]))["y"].numpy()
    largest = {TensorProto.INT8: 127, TensorProto.INT16: 32767}[kind]
    assert found.tolist() == [[STEP * largest, -STEP * (largest + 1), STEP * largest]]
    if kind == TensorProto.INT8:
        assert np.array_equal(OrtSession(model.SerializeToString(), "", 1).run(x)["y"], found)
