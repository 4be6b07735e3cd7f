"""A grouped FusedDense as TensorRT gets it: the float64 reference's result by one product, without a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from temport.custom_ops.fused_dense.reference import reference
from temport.custom_ops.op import Host
from temport.custom_ops.table import OPS
from temport.exporter.compilers.compile import compile_model, lower
from temport.exporter.compilers.tensorrt_rtx import BACKEND
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec

ODD, ALIGNED = (5, 3), (8, 4)
"""Depth and width of a group; TensorRT pads odd ones by concatenations and slices of its own."""
ROWS = Axis("batch", 1, 2, 7)


def dense(groups: int, bias: bool, activation: str = "none", sizes: tuple[int, int] = ODD) -> onnx.ModelProto:
    """`x [batch, G*K] -> y [batch, G*N]`: one node with its body, weights in float32."""
    depth, width = sizes
    random = np.random.default_rng(groups)
    weight = random.standard_normal((groups, depth, width), np.float32)
    addend = (
        random.standard_normal(groups * width, np.float32) if bias else np.zeros(groups * width, np.float32)
    )
    attributes = {"activation": activation, "groups": groups}
    node = helper.make_node(
        "FusedDense", ["x", "w", "b", "", ""], ["y"], name="dense", domain="temport", **attributes
    )
    info = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", groups * size])
        for name, size in (("x", depth), ("y", width))
    ]
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(addend, "b")]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    graph = helper.make_graph([node], "g", info[:1], info[1:], constants)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    (made,) = ir.from_proto(model).graph
    model.functions.append(OPS["FusedDense"].body_of(made, Host(opset=20)).function)
    return model


def declaration(groups: int, sizes: tuple[int, int] = ODD) -> Declaration:
    x, y = (TensorSpec(n, "float32", (ROWS, groups * width)) for n, width in zip("xy", sizes, strict=True))
    return Declaration("module", {}, (x,), (y,))


def truth(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    weight, bias = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
    attributes = {a.name: helper.get_attribute_value(a) for a in model.graph.node[0].attribute}
    return reference([x, weight, bias], {**attributes, "activation": attributes["activation"].decode()})


@pytest.mark.parametrize("rows", [0, 1, 4])
@pytest.mark.parametrize(
    ("groups", "bias", "activation", "kinds"),
    [
        (2, True, "none", {"Reshape", "Transpose", "MatMul", "Add"}),
        (3, False, "none", {"Reshape", "Transpose", "MatMul"}),
        (3, True, "relu", None),  # an epilogue: its body's nodes
        (1, True, "none", {"MatMul", "Add"}),
    ],
)
def test_equals_reference(
    rows: int, groups: int, bias: bool, activation: str, kinds: set[str] | None
) -> None:
    proto = dense(groups, bias, activation)
    if groups == 1:
        proto.graph.initializer[0].dims[:] = ODD
    model = ir.from_proto(proto)
    lower(model, declaration(groups), BACKEND)
    lowered = ir.to_proto(model)
    onnx.checker.check_model(lowered, full_check=True)
    assert kinds is None or {node.op_type for node in lowered.graph.node} == kinds
    x = np.random.default_rng(0).standard_normal((rows, groups * ODD[0]), np.float32)
    (y,) = ReferenceEvaluator(lowered).run(None, {"x": x})
    np.testing.assert_allclose(y, truth(proto, x), rtol=0, atol=16 * np.finfo(np.float32).eps)


def test_an_engine_takes_any_number_of_rows(tmp_path: Path) -> None:
    onnx.save(dense(2, True, sizes=ALIGNED), tmp_path / "m.onnx")
    report = compile_model("tensorrt-rtx", tmp_path / "m.onnx", declaration(2, ALIGNED), tmp_path)
    assert report.profiles["x"] == {"min": [1, 16], "opt": [2, 16], "max": [7, 16]}
    names = " ".join(str(layer["name"]) for layer in report.layers)
    assert not any(kind in names for kind in ("Slic", "Conc", "Repl"))


@pytest.mark.parametrize("kind", ["float16", "int8", "int4"])
def test_a_stored_weight_is_widened_in_front_of_the_product(kind: str) -> None:
    proto = dense(2, True, sizes=(32, 3))
    weight = proto.graph.initializer[0]
    random = np.random.default_rng(0)
    scale = random.random((2, 1, 3), np.float32)
    if kind == "float16":
        stored = numpy_helper.to_array(weight).astype(np.float16)
        numbers = stored.astype(np.float32)
        weight.CopyFrom(numpy_helper.from_array(stored, "w"))
    else:
        integers = random.integers(-7, 8, (2, 32, 3))
        numbers = (integers * scale).astype(np.float32)
        element = {"int8": TensorProto.INT8, "int4": TensorProto.INT4}[kind]
        weight.CopyFrom(helper.make_tensor("w", element, (2, 32, 3), integers.ravel().tolist()))
        proto.graph.initializer.append(numpy_helper.from_array(scale, "s"))
        proto.graph.node[0].input.append("s")
    proto.opset_import[0].version = 21
    model = ir.from_proto(proto)
    lower(model, declaration(2, (32, 3)), BACKEND)
    kinds = ["Cast" if kind == "float16" else "DequantizeLinear", "MatMul"]
    assert [n.op_type for n in model.graph if n.op_type not in ("Reshape", "Transpose", "Add")] == kinds
    x = random.standard_normal((4, 64), np.float32)
    (y,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    bias = numpy_helper.to_array(proto.graph.initializer[1])
    truth = reference([x, numbers, bias], {"activation": "none", "groups": 2})
    np.testing.assert_allclose(y, truth, rtol=0, atol=64 * np.finfo(np.float32).eps)
