"""Rounding to int8 or fp8 as torch spells it: how it is found, and the two operators of ONNX that say the same.

Division by a scale, `Round`, `Clip` and the product with the scale are `QuantizeLinear` and `DequantizeLinear`, number
for number; so they are with conversions to fp8 and back behind `Clip`.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph.edit import initializer, insert, named, put
from temport.exporter.graph.standard_operator import is_standard

LEAST, MOST, MOST_FP8 = -128.0, 127.0, 448.0


def both_ways(
    graph: ir.Graph,
    before: ir.Node,
    x: ir.Value,
    scale: ir.Value,
    narrow: ir.DataType,
    result: ir.Value,
) -> ir.Value:
    """What `QuantizeLinear` and `DequantizeLinear` make of x.

    Without a zero point: beside one ONNX Runtime 1.31 puts a type of its own, and then refuses the file.
    """
    assert result.shape is not None
    shape, kind = list(result.shape), {"output_dtype": narrow.value}
    integers = insert(
        graph, before, "QuantizeLinear", [x, scale], shape, named(result, narrow.name.lower()), kind
    )
    integers.type = ir.TensorType(narrow)
    numbers = insert(graph, before, "DequantizeLinear", [integers, scale], shape, named(result, "numbers"))
    numbers.type = ir.TensorType(ir.DataType.FLOAT)
    return numbers


def rounded(node: ir.Node) -> tuple[ir.Value, ir.Value, ir.DataType] | None:
    """What is rounded, the scale, and to which type, where `node` is the end of it."""
    if not is_standard(node, "Mul"):
        return None
    value, scale = node.inputs
    narrow, ends = ir.DataType.INT8, [LEAST, MOST]
    if (wide := _only(value, "Cast")) is not None:
        cast = _only(wide.inputs[0], "Cast")
        if cast is None or cast.outputs[0].dtype != ir.DataType.FLOAT8E4M3FN:
            return None
        value, narrow, ends = cast.inputs[0], ir.DataType.FLOAT8E4M3FN, [-MOST_FP8, MOST_FP8]
    clip = _only(value, "Clip")
    if clip is None or len(clip.inputs) != 3 or [_number(v) for v in clip.inputs[1:]] != ends:
        return None
    rounds = _only(clip.inputs[0], "Round") if narrow == ir.DataType.INT8 else clip
    quotient = None if rounds is None else _only(rounds.inputs[0], "Div")
    if quotient is None or scale is None or not (number := _number(scale)) or number <= 0:
        return None
    x, divisor = quotient.inputs
    return (x, scale, narrow) if x is not None and _number(divisor) == number else None


def _only(value: ir.Value | None, operator: str) -> ir.Node | None:
    """The node of that operator that makes the value."""
    node = None if value is None else value.producer()
    return node if node is not None and is_standard(node, operator) else None


def _number(value: ir.Value | None) -> float | None:
    """A constant without axes."""
    constant = None if value is None else value.const_value
    return float(constant.numpy()) if constant is not None and constant.numpy().ndim == 0 else None


def spell_roundings(model: ir.Model) -> None:
    """Every such pair of operators as torch spells it, in place: for who computes pairs otherwise."""
    graph = model.graph
    for node in list(graph):
        integers = _only(node.inputs[0], "QuantizeLinear") if is_standard(node, "DequantizeLinear") else None
        if integers is None or not _of_bytes(integers) or not _of_bytes(node):
            continue
        (x, scale), result = integers.inputs[:2], node.outputs[0]
        if x is None or scale is None or not (number := _number(scale)) or number != _number(node.inputs[1]):
            continue
        ends = [initializer(graph, f"bytes/{end:g}", np.array(end, np.float32)) for end in (LEAST, MOST)]
        value, shape = x, list(result.shape or ())
        for operator, others in (("Div", [scale]), ("Round", []), ("Clip", ends), ("Mul", [scale])):
            name = named(result, operator)
            value = insert(graph, node, operator, [value, *others], shape, name)
        put(result, value)
    common.RemoveUnusedNodesPass()(model)


def _of_bytes(node: ir.Node) -> bool:
    """Whether a node makes int8 of floats or floats of int8, with 0 as it is."""
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if zero is not None:
        held = None if zero.const_value is None else zero.const_value.numpy()
        return held is not None and held.dtype == np.int8 and not held.any()
    if node.op_type == "DequantizeLinear":
        return node.inputs[0] is not None and node.inputs[0].dtype in (ir.DataType.INT8, None)
    return node.attributes.get_int("output_dtype", 0) == ir.DataType.INT8.value
