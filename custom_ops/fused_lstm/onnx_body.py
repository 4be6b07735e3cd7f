"""FusedLSTM as one `LSTM`."""

from __future__ import annotations

import onnx_ir as ir
from onnx import AttributeProto, helper

from temport.custom_ops.fused_lstm.schema import SCHEMA
from temport.custom_ops.op import Body, Host
from temport.custom_ops.plain_body import plain_body


def specialise(node: ir.Node, host: Host) -> int:
    """The opset alone: one body serves every node."""
    return host.opset


def body(opset: int) -> Body:
    lengths = ""  # absent: every sequence has all its frames
    inputs = ["X", "W", "R", "B", lengths, "initial_h", "initial_c"]
    lstm = helper.make_node("LSTM", inputs, ["Y", "Y_h", "Y_c"])
    size = AttributeProto(name="hidden_size", ref_attr_name="hidden_size", type=AttributeProto.INT)
    lstm.attribute.append(size)
    return plain_body(SCHEMA, opset, [lstm])
