"""Rounding to int8 or fp8, as torch spells it and as the two operators of ONNX say it: how it is found, and made.

Division by a scale, `Round`, `Clip` and the product with the scale are `QuantizeLinear` and `DequantizeLinear`, number
for number; so they are with conversions to fp8 and back behind `Clip`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph.edit import initializer, insert, named, put
from temport.exporter.graph.standard_operator import is_standard

ENDS = {"int8": (-128.0, 127.0), "fp8": (-448.0, 448.0)}
"""The least and the most of a type."""


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


def narrowed(value: ir.Value) -> tuple[ir.Node, ir.DataType] | None:
    """Where a value holds what was rounded to int8 or fp8: the node that divides by the scale, and the type.

    It is `QuantizeLinear` with 0 as it is, or a division in front of `Round` and `Clip`, or of `Clip` and `Cast`.
    """
    if (pair := _only(value, "QuantizeLinear")) is not None:
        narrow = _integers_of(pair)
        return None if narrow is None else (pair, narrow)
    narrow, ends, clipped = ir.DataType.INT8, ENDS["int8"], value
    if (cast := _only(value, "Cast")) is not None:
        if cast.attributes.get_int("to", 0) != ir.DataType.FLOAT8E4M3FN.value or cast.inputs[0] is None:
            return None
        narrow, ends, clipped = ir.DataType.FLOAT8E4M3FN, ENDS["fp8"], cast.inputs[0]
    clip = _only(clipped, "Clip")
    if clip is None or len(clip.inputs) != 3 or tuple(map(_number, clip.inputs[1:])) != ends:
        return None
    rounds = _only(clip.inputs[0], "Round") if narrow == ir.DataType.INT8 else clip
    quotient = None if rounds is None else _only(rounds.inputs[0], "Div")
    return None if quotient is None else (quotient, narrow)


@dataclass(frozen=True)
class Rounded:
    """What is rounded, the one scale above 0, and to which type; `paired` where two operators of ONNX say so."""

    x: ir.Value
    scale: ir.Value
    narrow: ir.DataType
    paired: bool


def rounded(node: ir.Node) -> Rounded | None:
    """Of the node that ends a rounding, the product with the scale or `DequantizeLinear`; None for any other."""
    paired = is_standard(node, "DequantizeLinear") and not _zero_moved(node)
    if not paired and not is_standard(node, "Mul"):
        return None
    value, scale = node.inputs[:2]
    wide = None if paired else _only(value, "Cast")
    value = value if wide is None else wide.inputs[0]
    found = None if value is None else narrowed(value)
    if found is None or scale is None:
        return None
    quotient, narrow = found
    if not paired and (wide is not None) != (narrow != ir.DataType.INT8):
        return None  # floats hold the integers of `Clip`; what is of another type is converted
    if paired != (quotient.op_type == "QuantizeLinear"):
        return None
    (x, divisor), number = quotient.inputs[:2], _number(scale)
    if x is None or not number or number <= 0 or _number(divisor) != number:
        return None
    return Rounded(x, scale, narrow, paired)


def _integers_of(node: ir.Node) -> ir.DataType | None:
    """int8 or fp8 where a `QuantizeLinear` makes that, with 0 as it is, and saturates."""
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    kind = zero.dtype if zero is not None else ir.DataType(node.attributes.get_int("output_dtype", 0))
    narrow = kind in (ir.DataType.INT8, ir.DataType.FLOAT8E4M3FN)
    saturates = node.attributes.get_int("saturate", 1) == 1
    return kind if narrow and saturates and not _zero_moved(node) else None


def _zero_moved(node: ir.Node) -> bool:
    """Whether a zero point is not known to be 0."""
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if zero is None:
        return False
    return zero.const_value is None or bool(zero.const_value.numpy().astype(np.float32).any())


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
        found = rounded(node)
        if found is None or not found.paired or found.narrow != ir.DataType.INT8:
            continue
        x, scale, result = found.x, found.scale, node.outputs[0]
        ends = [initializer(graph, f"bytes/{end:g}", np.array(end, np.float32)) for end in ENDS["int8"]]
        value, shape = x, list(result.shape or ())
        for operator, others in (("Div", [scale]), ("Round", []), ("Clip", ends), ("Mul", [scale])):
            name = named(result, operator)
            value = insert(graph, node, operator, [value, *others], shape, name)
        put(result, value)
    common.RemoveUnusedNodesPass()(model)
