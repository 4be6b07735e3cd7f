"""FusedGRU as one `GRU`."""

from __future__ import annotations

import onnx_ir as ir

from temport.custom_ops.fused_gru.schema import SCHEMA
from temport.custom_ops.op import Body, Host
from temport.custom_ops.recurrent_layer import RecurrentNode, recurrent_body, recurrent_node


def specialise(node: ir.Node, host: Host) -> RecurrentNode:
    """The opset, and how weights are stored."""
    return recurrent_node(SCHEMA, node, host)


def body(at: RecurrentNode) -> Body:
    return recurrent_body(SCHEMA, at, "GRU", linear_before_reset=1)
