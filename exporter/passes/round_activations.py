"""Inputs of layers that are rounded to bytes, as torch spells it, become `QuantizeLinear` and `DequantizeLinear`.

Division by the scale, `Round`, `Clip` and the product with the scale are these two, number for number. `FusedDense`
takes the scale itself, and what is rounded.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from temport.custom_ops.domain import DOMAIN
from temport.custom_ops.table import OPS
from temport.exporter.graph.edit import insert, named, put
from temport.exporter.graph.standard_operator import is_standard

LEAST, MOST = -128.0, 127.0
_SCALE = [parameter.name for parameter in OPS["FusedDense"].schema.inputs].index("X_scale")


def round_activations(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where nothing is rounded. Run it after `compress_weights`."""
    graph = model.graph
    found = False
    for node in list(graph):
        rounds = _rounded(node)
        if rounds is None:
            continue
        found = True
        x, scale = rounds
        result = node.outputs[0]
        for user, place in list(result.uses()):
            layers = _layers(user, place)
            if layers:
                user.replace_input_with(0, x)
            for layer in layers:
                layer.resize_inputs(_SCALE + 1)
                layer.replace_input_with(_SCALE, scale)
        if result.uses() or result.is_graph_output():
            put(result, _both_ways(graph, node, x, scale, result))
    common.RemoveUnusedNodesPass()(model)
    return found


def _layers(user: ir.Node, place: int) -> list[ir.Node]:
    """Layers of ours that take the rounded value, all that `user` hands it to: itself, or those behind what only moves
    numbers.
    """
    if place == 0 and (user.domain, user.op_type) == (DOMAIN, "FusedDense"):
        return [user]
    if place != 0 or not is_standard(user, "Slice", "Reshape") or user.outputs[0].is_graph_output():
        return []
    behind = [_layers(node, at) if node.domain == DOMAIN else [] for node, at in user.outputs[0].uses()]
    return [layer for layers in behind for layer in layers] if all(behind) else []


def _both_ways(graph: ir.Graph, before: ir.Node, x: ir.Value, scale: ir.Value, result: ir.Value) -> ir.Value:
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


def _rounded(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
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
