"""`LSTM` nodes as `FusedLSTM`, which says the same in the same layouts."""

from __future__ import annotations

import onnx_ir as ir

from temport.custom_ops.domain import DOMAIN
from temport.exporter.graph.standard_operator import is_standard

LENGTHS, FIRST_STATE, PEEPHOLES = 4, 5, 7
"""Inputs of ai.onnx LSTM that the op does not take, and the first of those between them."""
OUTPUTS = 3
DEFAULTS = {"direction": "forward", "input_forget": 0, "layout": 0}


def fused_lstm(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where no node can be."""
    found = [node for node in list(model.graph) if _can_be_fused(node)]
    for node in found:
        inputs = [*node.inputs, *[None] * PEEPHOLES][:PEEPHOLES]
        fused = ir.node(
            "FusedLSTM",
            [*inputs[:LENGTHS], *inputs[FIRST_STATE:]],
            {"hidden_size": node.attributes["hidden_size"].as_int()},
            domain=DOMAIN,
            outputs=_all_outputs(node),
            name=node.name,
        )
        model.graph.insert_before(node, fused)
        for old, new in zip(node.outputs, fused.outputs, strict=False):
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
    return bool(found)


def _all_outputs(node: ir.Node) -> list[ir.Value]:
    """New values for Y, Y_h and Y_c, those that the node leaves out too.

    Y must have a name, and ONNX Runtime infers a node's types from every output of its function body.
    """
    named = [value.name for value in node.outputs if value.name]
    outputs = []
    for index in range(OUTPUTS):
        old = node.outputs[index] if index < len(node.outputs) else None
        if old is not None and old.name:
            outputs.append(ir.Value(name=old.name, type=old.type, shape=old.shape))
        else:
            outputs.append(ir.Value(name=f"{named[0]}_unused_{index}"))
    return outputs


def _can_be_fused(node: ir.Node) -> bool:
    """A float32 LSTM with constant weights and every option at its default: one direction, no lengths, no
    peepholes, no clipping. Weights that are no constants would be packed in every run.
    """
    if not is_standard(node, "LSTM") or "hidden_size" not in node.attributes:
        return False
    given = {name: attribute.value for name, attribute in node.attributes.items() if name != "hidden_size"}
    left_out = [value for index, value in enumerate(node.inputs) if index in (LENGTHS, PEEPHOLES)]
    weights = [value for value in node.inputs[1:LENGTHS] if value is not None]
    return (
        all(DEFAULTS.get(name) == value for name, value in given.items())
        and all(value is None for value in left_out)
        and all(value.const_value is not None and value.dtype == ir.DataType.FLOAT for value in weights)
    )
