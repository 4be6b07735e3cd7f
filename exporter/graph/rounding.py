"""Rounding to bytes as torch spells it: how it is found, and the two operators of ONNX that say the same.

Division by a scale, `Round`, `Clip` and the product with the scale are `QuantizeLinear` and `DequantizeLinear`, number
for number.
"""

from __future__ import annotations

import onnx_ir as ir

from temport.exporter.graph.edit import insert, named
from temport.exporter.graph.standard_operator import is_standard

LEAST, MOST = -128.0, 127.0


def both_ways(graph: ir.Graph, before: ir.Node, x: ir.Value, scale: ir.Value, result: ir.Value) -> ir.Value:
    """What `QuantizeLinear` and `DequantizeLinear` make of x.

    Without a zero point: beside one ONNX Runtime 1.31 puts a type of its own, and then refuses the file.
    """
    assert result.shape is not None
    shape, kind = list(result.shape), {"output_dtype": ir.DataType.INT8.value}
    integers = insert(graph, before, "QuantizeLinear", [x, scale], shape, named(result, "int8"), kind)
    integers.type = ir.TensorType(ir.DataType.INT8)
    numbers = insert(graph, before, "DequantizeLinear", [integers, scale], shape, named(result, "numbers"))
    numbers.type = ir.TensorType(ir.DataType.FLOAT)
    return numbers


def rounded(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """What is rounded, and the scale, where `node` is the end of it."""
    if not is_standard(node, "Mul"):
        return None
    clipped, scale = node.inputs
    clip = _only(clipped, "Clip")
    if clip is None or len(clip.inputs) != 3 or [_number(v) for v in clip.inputs[1:]] != [LEAST, MOST]:
        return None
    rounds = _only(clip.inputs[0], "Round")
    quotient = None if rounds is None else _only(rounds.inputs[0], "Div")
    if quotient is None or scale is None or not (number := _number(scale)) or number <= 0:
        return None
    x, divisor = quotient.inputs
    return (x, scale) if x is not None and _number(divisor) == number else None


def _only(value: ir.Value | None, operator: str) -> ir.Node | None:
    """The node of that operator that makes the value."""
    node = None if value is None else value.producer()
    return node if node is not None and is_standard(node, operator) else None


def _number(value: ir.Value | None) -> float | None:
    """A constant without axes."""
    constant = None if value is None else value.const_value
    return float(constant.numpy()) if constant is not None and constant.numpy().ndim == 0 else None
