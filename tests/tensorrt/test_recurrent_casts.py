"""Recurrent layers behind a half type: TensorRT-RTX builds them, with a sum where it would move a conversion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from temport.exporter.compilers.compile import compile_model, lower
from temport.exporter.compilers.tensorrt_rtx import BACKEND
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec

TYPES = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16, "float32": TensorProto.FLOAT}
GATES = {"GRU": 3, "LSTM": 4}
BATCH, SEQ = Axis("batch", 1, 1, 1), Axis("seq", 2, 12, 20)


def layer(cell: str, element_type: str) -> onnx.ModelProto:
    """A dense layer in that type, converted and moved, then a recurrent layer in float32."""
    rows = GATES[cell] * 16
    random = np.random.default_rng(0)
    shapes = {"dense": (8, 16), "w": (1, rows, 16), "r": (1, rows, 16), "b": (1, 2 * rows)}
    constants = [numpy_helper.from_array(random.standard_normal(s, np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Cast", ["dense"], ["dense_half"], to=TYPES[element_type]),
        helper.make_node("Cast", ["x"], ["x_half"], to=TYPES[element_type]),
        helper.make_node("MatMul", ["x_half", "dense_half"], ["h_half"]),
        helper.make_node("Cast", ["h_half"], ["h"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["h"], ["frames"], perm=[1, 0, 2]),
        helper.make_node(cell, ["frames", "w", "r", "b"], ["y"], name="layer", hidden_size=16),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "seq", 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["seq", 1, 1, 16])
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def declaration() -> Declaration:
    x = TensorSpec("x", "float32", (BATCH, SEQ, 8))
    return Declaration("module", {}, (x,), (TensorSpec("y", "float32", (SEQ, 1, BATCH, 16)),))


@pytest.mark.parametrize(("cell", "element_type"), [("GRU", "float16"), ("LSTM", "bfloat16")])
def test_a_layer_behind_a_half_type_is_built(cell: str, element_type: str, tmp_path: Path) -> None:
    onnx.save(layer(cell, element_type), tmp_path / "model.onnx")
    report = compile_model("tensorrt-rtx", tmp_path / "model.onnx", declaration(), tmp_path)
    assert any("loop of small kernels" in warning for warning in report.warnings)


@pytest.mark.parametrize("element_type", TYPES)
def test_the_sum_stands_where_a_half_type_ends(element_type: str) -> None:
    model = ir.from_proto(layer("GRU", element_type))
    lower(model, declaration(), BACKEND)
    kinds = [node.op_type for node in model.graph]
    assert kinds.count("Add") == (element_type != "float32")
