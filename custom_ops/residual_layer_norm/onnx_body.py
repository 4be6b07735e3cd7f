"""ResidualLayerNorm as `LayerNormalization` or `RMSNormalization`, after an `Add` where the node has an addend."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx import AttributeProto, helper

from temport.custom_ops import node as read
from temport.custom_ops.op import Body, Host
from temport.custom_ops.plain_body import plain_body
from temport.custom_ops.residual_layer_norm.schema import SCHEMA

FIRST_OPSET_WITH_RMS = 23


@dataclass(frozen=True)
class NormNode:
    """Whether there is an addend, and a mean to take off; the body takes `epsilon` from its node."""

    added: bool
    centred: bool
    opset: int


def specialise(node: ir.Node, host: Host) -> NormNode:
    """What the body depends on."""
    centred = bool(read.attributes(node, SCHEMA)["centred"])
    return NormNode("R" in read.inputs(node, SCHEMA), centred, host.opset)


def body(at: NormNode) -> Body:
    nodes = [helper.make_node("Add", ["X", "R"], ["sum"])] if at.added else []
    x = "sum" if at.added else "X"
    epsilon = AttributeProto(name="epsilon", ref_attr_name="epsilon", type=AttributeProto.FLOAT)
    if at.centred:
        normalise = helper.make_node("LayerNormalization", [x, "Scale", "B"], ["Y"], axis=-1)
        normalise.attribute.append(epsilon)
        nodes.append(normalise)
    elif at.opset >= FIRST_OPSET_WITH_RMS:
        normalise = helper.make_node("RMSNormalization", [x, "Scale"], ["scaled"], axis=-1)
        normalise.attribute.append(epsilon)
        nodes += [normalise, helper.make_node("Add", ["scaled", "B"], ["Y"])]
    else:
        nodes += _root_mean_square(x)
    return plain_body(SCHEMA, at.opset, nodes)


def _root_mean_square(x: str) -> list[onnx.NodeProto]:
    """In the spelling that ONNX Runtime makes its own node of."""
    constant = helper.make_node("Constant", [], ["epsilon_float"])
    constant.attribute.append(
        AttributeProto(name="value_float", ref_attr_name="epsilon", type=AttributeProto.FLOAT)
    )
    return [
        constant,
        helper.make_node("CastLike", ["epsilon_float", x], ["epsilon"]),
        helper.make_node("Constant", [], ["last"], value_ints=[-1]),
        helper.make_node("Mul", [x, x], ["squares"]),
        helper.make_node("ReduceMean", ["squares", "last"], ["mean"], keepdims=1),
        helper.make_node("Add", ["mean", "epsilon"], ["above"]),
        helper.make_node("Sqrt", ["above"], ["root"]),
        helper.make_node("Div", [x, "root"], ["normal"]),
        helper.make_node("Mul", ["normal", "Scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "B"], ["Y"]),
    ]
