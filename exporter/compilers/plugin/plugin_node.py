"""What both plugin lowerings read from a `temport` node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from temport.custom_ops.layout import Layout, read_layout
from temport.exporter.compilers.contract import CompileError
from temport.exporter.compilers.lower_attention import LoweredAttention

WIDEST_HEAD = 256
LONGEST = 2**30
"""No length exceeds it, so a wider window or block is no limit either; the kernels read 32-bit integers."""
_ELEMENT_TYPES = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
}


@dataclass(frozen=True)
class PluginNode:
    """A node that our CUDA kernels take; `inputs` has no gaps: Q, or Q K V, then a key mask."""

    node: ir.Node
    inputs: list[ir.Value]
    has_mask: bool
    element_type: str
    attributes: dict[str, Any]
    layout: Layout
    lowered: LoweredAttention


def read_plugin_node(node: ir.Node) -> PluginNode:
    """Sizes and attributes of `node`; raises `CompileError` for what the kernels do not take."""
    q = node.inputs[0]
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    heads = attributes["num_heads"]
    kv_heads = attributes.get("kv_num_heads", heads)
    shapes = [
        None if v is None or v.shape is None else [d if isinstance(d, int) else None for d in v.shape]
        for v in [*node.inputs, None, None][:3]
    ]
    if q is None or q.dtype not in _ELEMENT_TYPES or shapes[0] is None:
        raise CompileError(
            f"{node.name}: the plugin takes float32, float16 or bfloat16 tensors of known rank"
        )
    layout = read_layout(
        node.op_type, shapes[0], shapes[1], shapes[2], num_heads=heads, kv_num_heads=kv_heads
    )
    if (widest := max(layout.head_dim, layout.value_dim)) > WIDEST_HEAD:
        raise CompileError(f"{node.name} has head dim {widest}; the plugin takes 1 to {WIDEST_HEAD}")
    has_mask = len(node.inputs) > 3 and node.inputs[3] is not None
    lowered = LoweredAttention(
        node.name or "",
        q.dtype.name,
        heads,
        kv_heads,
        layout.head_dim,
        layout.value_dim,
        "plugin",
        "rule",
        has_mask,
    )
    inputs = [value for value in node.inputs if value is not None]
    return PluginNode(node, inputs, has_mask, _ELEMENT_TYPES[q.dtype], attributes, layout, lowered)
