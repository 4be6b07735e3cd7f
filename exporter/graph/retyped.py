"""A graph in another floating-point type: what it says, without the rounding that its own types bring."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HALVES = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
FLOATS = {TensorProto.FLOAT, *HALVES}
_TYPES = {
    ("Cast", "to"),
    ("EyeLike", "dtype"),
    ("Attention", "softmax_precision"),
    *((window, "output_datatype") for window in ("HannWindow", "HammingWindow", "BlackmanWindow")),
}
"""Attributes that name an element type."""


def retyped(model: onnx.ModelProto, kind: int, floats: Collection[int] = FLOATS) -> onnx.ModelProto:
    """A copy of a function-free model in which each of `floats` is `kind`, in the graphs inside it too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _retype_graph(copy.graph, kind, floats)
    return copy


def _retype_graph(graph: onnx.GraphProto, kind: int, floats: Collection[int]) -> None:
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in floats:
            value.type.tensor_type.elem_type = kind
    for tensor in graph.initializer:
        _retype_tensor(tensor, kind, floats)
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and not node.attribute:  # zeros in float32
            zero = np.zeros(1, helper.tensor_dtype_to_np_dtype(kind))
            node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(zero)))
        for attribute in node.attribute:
            _retype_attribute(node, attribute, kind, floats)


def _retype_attribute(
    node: onnx.NodeProto, attribute: onnx.AttributeProto, kind: int, floats: Collection[int]
) -> None:
    if attribute.type == onnx.AttributeProto.GRAPH:
        _retype_graph(attribute.g, kind, floats)
    elif attribute.type == onnx.AttributeProto.TENSOR:
        _retype_tensor(attribute.t, kind, floats)
    elif (node.op_type, attribute.name) in _TYPES and attribute.i in floats:
        attribute.i = kind
    elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        value = np.array(helper.get_attribute_value(attribute), helper.tensor_dtype_to_np_dtype(kind))
        attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(value)))


def _retype_tensor(tensor: TensorProto, kind: int, floats: Collection[int]) -> None:
    if tensor.data_type in floats:
        value = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(kind))
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
