"""FusedGRU as one `GRU`."""

from __future__ import annotations

import onnx_ir as ir

from temport.custom_ops.fused_gru.schema import SCHEMA
from temport.custom_ops.op import Body, Host
from temport.custom_ops.recurrent_layer import recurrent_body


def specialise(node: ir.Node, host: Host) -> int:
    """The opset alone: one body serves every node."""
    return host.opset


def body(opset: int) -> Body:
    return recurrent_body(SCHEMA, opset, "GRU", linear_before_reset=1)
