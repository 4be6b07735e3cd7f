"""ResidualLayerNorm as `LayerNormalization`, after an `Add` where the node has an addend."""

from __future__ import annotations

from onnx import AttributeProto, helper

from temport.custom_ops.op import Body, Specialisation
from temport.custom_ops.plain_body import plain_body
from temport.custom_ops.residual_layer_norm.schema import SCHEMA


def body(at: Specialisation) -> Body:
    added = "R" in at.given
    nodes = [helper.make_node("Add", ["X", "R"], ["sum"])] if added else []
    normalise = helper.make_node(
        "LayerNormalization", ["sum" if added else "X", "Scale", "B"], ["Y"], axis=-1
    )
    epsilon = AttributeProto(name="epsilon", ref_attr_name="epsilon", type=AttributeProto.FLOAT)
    normalise.attribute.append(epsilon)
    return plain_body(SCHEMA, at, [*nodes, normalise])
