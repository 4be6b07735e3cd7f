"""Hand the `temport` nodes to the plugin library: the same node with the two attributes that name the plugin.

Without `plugin_namespace` and `plugin_version` TensorRT would inline the function body; with them, and the
library loaded, the node is the plugin. Its inputs are given without gaps, and every attribute is written out: the
library knows no defaults that depend on sizes.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from temport.custom_ops.block_linear_attention.attributes import BlockLinearAttributes
from temport.custom_ops.domain import DOMAIN
from temport.custom_ops.online_softmax_attention.attributes import OP_NAME, OnlineSoftmaxAttributes
from temport.exporter.compilers.lower_attention import LoweredAttention
from temport.exporter.compilers.plugin.plugin_node import LONGEST, PluginNode, read_plugin_node

PLUGIN_ATTRIBUTES = {"plugin_namespace": DOMAIN, "plugin_version": "1"}


def lower_to_plugin(model: ir.Model) -> list[LoweredAttention]:
    """Mark every `temport` node of `model`, in place, and drop the bodies."""
    lowered = [_mark(node) for node in model.graph if node.domain == DOMAIN]
    for identifier in [key for key in model.functions if key[0] == DOMAIN]:
        del model.functions[identifier]
    return lowered


def _mark(node: ir.Node) -> LoweredAttention:
    read = read_plugin_node(node)
    node.resize_inputs(len(read.inputs))
    for index, value in enumerate(read.inputs):
        node.replace_input_with(index, value)
    node.overload = ""
    node.attributes.clear()
    for attribute in ir.convenience.convert_attributes({**_resolved(read), **PLUGIN_ATTRIBUTES}):
        node.attributes[attribute.name] = attribute
    return read.lowered


def _resolved(read: PluginNode) -> dict[str, Any]:
    dim = read.layout.head_dim
    if read.node.op_type == OP_NAME:
        a = OnlineSoftmaxAttributes.parse(read.attributes)
        return {
            "num_heads": a.num_heads, "kv_num_heads": a.kv_heads, "causal": int(a.causal),
            "window": min(a.window, LONGEST), "query_offset": a.query_offset, "scale": a.scale_for(dim),
        }  # fmt: skip
    b = BlockLinearAttributes.parse(read.attributes)
    return {
        "num_heads": b.num_heads, "block_size": min(b.block_size, LONGEST), "scale": b.scale_for(dim),
        "feature_map": b.feature_map, "normalizer": b.normalizer, "eps": b.eps,
    }  # fmt: skip
