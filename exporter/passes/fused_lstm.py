"""`LSTM` nodes as `FusedLSTM`, which says the same in the same layouts."""

from __future__ import annotations

import onnx_ir as ir

LENGTHS, FIRST_STATE, PEEPHOLES = 4, 5, 7
"""Inputs of ai.onnx LSTM that the op does not take, and the first of those between them."""
OUTPUTS = 3
DEFAULTS = {"direction": "forward", "input_forget": 0, "layout": 0}


def fused_lstm(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where no node can be."""
    found = [node for node in list(model.graph) if _can_be_fused(node)]
    for node in found:
        inputs = [*node.inputs, *[None] * PEEPHOLES][:PEEPHOLES]
        # all outputs, used or not: ONNX Runtime infers a node's types from every output of its function body
        unused = [ir.Value(name=f"{node.name}_unused_{i}") for i in range(len(node.outputs), OUTPUTS)]
        fused = ir.node(
            "FusedLSTM",
            [*inputs[:LENGTHS], *inputs[FIRST_STATE:]],
            {"hidden_size": node.attributes["hidden_size"].as_int()},
            domain="temport",
            outputs=[*(ir.Value(name=v.name, type=v.type, shape=v.shape) for v in node.outputs), *unused],
            name=node.name,
        )
        model.graph.insert_before(node, fused)
        for old, new in zip(node.outputs, fused.outputs, strict=False):
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
    return bool(found)


def _can_be_fused(node: ir.Node) -> bool:
    """A float32 LSTM with every option at its default: one direction, no lengths, no peepholes, no clipping."""
    if node.domain not in ("", "ai.onnx") or node.op_type != "LSTM":
        return False
    given = {name: attribute.value for name, attribute in node.attributes.items() if name != "hidden_size"}
    left_out = [value for index, value in enumerate(node.inputs) if index in (LENGTHS, PEEPHOLES)]
    weight = node.inputs[1]
    return (
        all(DEFAULTS.get(name) == value for name, value in given.items())
        and all(value is None for value in left_out)
        and weight is not None
        and weight.dtype == ir.DataType.FLOAT
    )
