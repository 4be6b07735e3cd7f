"""Inputs of dense layers that are rounded to bytes, as pairs of `QuantizeLinear` and `DequantizeLinear`.

The body of `FusedDense` spells the rounding out, and of what it spells TensorRT makes products in float32; of pairs in
front of both factors it makes products of integers. A product gets the name of its layer, by which an engine is told.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
from onnx_ir.passes import common

from temport.custom_ops.domain import DOMAIN
from temport.exporter.graph.edit import initializer, put
from temport.exporter.graph.rounding import both_ways, rounded
from temport.exporter.graph.standard_operator import is_standard

PRODUCTS = {"MatMul": (1,), "Gemm": (1,), "LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2)}
"""Operators, and the places of their weights."""
_OURS = ("FusedDense", "FusedLSTM", "FusedGRU")
"""Those of ours, whose first weight is in the same place."""


def layers_by_weight(model: ir.Model) -> dict[ir.Value, str]:
    """The weight of each dense and recurrent layer of ours -> its name. Ask before its body takes its place."""
    found: dict[ir.Value, str] = {}
    for node in model.graph:
        ours = node.domain == DOMAIN and node.op_type in _OURS
        if ours and node.name and (weight := stored_in(node.inputs[1])) is not None:
            found.setdefault(weight, node.name)
    return found


def lower_rounded_inputs(model: ir.Model, layers: Mapping[ir.Value, str]) -> None:
    """In place. Run it where no function is left."""
    graph = model.graph
    taken = {node.name for node in graph}
    for node in graph:
        weights = weights_of(node)
        name = layers.get(weights[0][1]) if weights else None
        if name is not None and name not in taken:
            node.name = name
            taken.add(name)
    if not any(is_standard(node, "Round") for node in graph):
        return
    common.ShapeInferencePass()(model)
    for node in list(graph):
        if is_standard(node, "CastLike") and (number := _same_type(node)) is not None:
            held = initializer(graph, f"{node.name}/number", number.numpy())
            node.outputs[0].replace_all_uses_with(held)
    for node in list(graph):
        if (rounds := rounded(node)) is not None and not rounds.paired:
            pair = both_ways(graph, node, rounds.x, rounds.scale, rounds.narrow, node.outputs[0])
            put(node.outputs[0], pair)
    common.RemoveUnusedNodesPass()(model)


def _same_type(node: ir.Node) -> ir.TensorProtocol | None:
    """The constant that a `CastLike` leaves as it is."""
    number, like = node.inputs
    if number is None or like is None or number.dtype != like.dtype:
        return None
    return ir.convenience.get_const_tensor(number)


def weights_of(node: ir.Node) -> list[tuple[int, ir.Value]]:
    """Places of a node's factors, and the constants that they are made of."""
    places = PRODUCTS.get(node.op_type, ()) if is_standard(node, *PRODUCTS) else ()
    held = ((place, stored_in(node.inputs[place])) for place in places)
    return [(place, weight) for place, weight in held if weight is not None]


def stored_in(value: ir.Value | None) -> ir.Value | None:
    """The constant that numbers are made of, or are."""
    maker = None if value is None else value.producer()
    if maker is not None and is_standard(maker, "DequantizeLinear", "Cast", "CastLike"):
        value = maker.inputs[0]
    return value if value is not None and value.const_value is not None else None
