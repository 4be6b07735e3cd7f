"""Inputs of layers that are rounded become `QuantizeLinear` and `DequantizeLinear`, where torch spells them otherwise.

Of what is rounded to bytes `FusedDense` takes the scale itself.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from temport.custom_ops.domain import DOMAIN
from temport.custom_ops.table import OPS
from temport.exporter.graph.edit import put
from temport.exporter.graph.rounding import both_ways, rounded
from temport.exporter.graph.standard_operator import is_standard

_SCALE = [parameter.name for parameter in OPS["FusedDense"].schema.inputs].index("X_scale")


def round_activations(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where nothing is rounded. Run it after `compress_weights`."""
    graph = model.graph
    found = False
    for node in list(graph):
        rounds = rounded(node)
        if rounds is None:
            continue
        found = True
        x, scale, result = rounds.x, rounds.scale, node.outputs[0]
        for user, place in list(result.uses()) if rounds.narrow == ir.DataType.INT8 else ():
            layers = _layers(user, place)
            if layers:
                user.replace_input_with(0, x)
            for layer in layers:
                layer.resize_inputs(_SCALE + 1)
                layer.replace_input_with(_SCALE, scale)
        if not rounds.paired and (result.uses() or result.is_graph_output()):
            put(result, both_ways(graph, node, x, scale, rounds.narrow, result))
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
