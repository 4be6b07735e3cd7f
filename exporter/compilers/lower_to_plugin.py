"""Hand the `temport` nodes to the plugin library: the same node with the two attributes that name the plugin.

Without `plugin_namespace` and `plugin_version` TensorRT would inline the function body; with them, and the
library loaded, the node is the plugin. Its inputs are given without gaps: Q, or Q K V, then a key mask.
"""

from __future__ import annotations

import onnx_ir as ir

from custom_ops.layout import read_layout
from exporter.compilers.contract import CompileError
from exporter.compilers.lower_attention import LoweredAttention

PLUGIN_ATTRIBUTES = {"plugin_namespace": "temport", "plugin_version": "1"}
WIDEST_HEAD = 256
_ELEMENT_TYPES = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


def lower_to_plugin(model: ir.Model) -> list[LoweredAttention]:
    """Mark every `temport` node of `model`, in place, and drop the bodies."""
    lowered = [_mark(node) for node in model.graph if node.domain == "temport"]
    for identifier in [key for key in model.functions if key[0] == "temport"]:
        del model.functions[identifier]
    return lowered


def _mark(node: ir.Node) -> LoweredAttention:
    q = node.inputs[0]
    heads = node.attributes["num_heads"].as_int()
    kv = node.attributes.get("kv_num_heads")
    kv_heads = heads if kv is None else kv.as_int()
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
    if max(layout.head_dim, layout.value_dim) > WIDEST_HEAD:
        raise CompileError(f"{node.name} has head dim {layout.head_dim}; the plugin takes 1 to {WIDEST_HEAD}")
    has_mask = len(node.inputs) > 3 and node.inputs[3] is not None
    dense = [value for value in node.inputs if value is not None]
    node.resize_inputs(len(dense))
    for index, value in enumerate(dense):
        node.replace_input_with(index, value)
    node.overload = ""
    for name, text in PLUGIN_ATTRIBUTES.items():
        node.attributes[name] = ir.AttrString(name, text)
    return LoweredAttention(
        node.name or "", q.dtype.name, heads, kv_heads, layout.head_dim, "plugin", "rule", has_mask
    )
