"""ResidualLayerNorm as `LayerNormalization`, after an `Add` where the node has an addend."""

from __future__ import annotations

import onnx_ir as ir
from onnx import AttributeProto, helper

from temport.custom_ops import node as read
from temport.custom_ops.op import Body, Host
from temport.custom_ops.plain_body import plain_body
from temport.custom_ops.residual_layer_norm.schema import SCHEMA


def specialise(node: ir.Node, host: Host) -> tuple[bool, int]:
    """Whether there is an addend, and the opset; the body takes `epsilon` from its node."""
    return "R" in read.inputs(node, SCHEMA), host.opset


def body(at: tuple[bool, int]) -> Body:
    added, opset = at
    nodes = [helper.make_node("Add", ["X", "R"], ["sum"])] if added else []
    normalise = helper.make_node(
        "LayerNormalization", ["sum" if added else "X", "Scale", "B"], ["Y"], axis=-1
    )
    epsilon = AttributeProto(name="epsilon", ref_attr_name="epsilon", type=AttributeProto.FLOAT)
    normalise.attribute.append(epsilon)
    return plain_body(SCHEMA, opset, [*nodes, normalise])
