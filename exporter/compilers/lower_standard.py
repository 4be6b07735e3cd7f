"""Adopt the `ai.onnx::Attention` nodes that a model already has (the standard dialect from opset 23 on).

A boolean mask that is a constant becomes the additive one, which costs TensorRT a third of the kernels; values of
another width than keys are padded to one width, or keys are; what no fused kernel takes may be decomposed.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.compilers.contract import Backend, CompileError
from temport.exporter.compilers.graph_edit import GraphEdit
from temport.exporter.compilers.head_width import cut, pad
from temport.exporter.compilers.lower_attention import EXCLUDED, LoweredAttention
from temport.exporter.graph.standard_operator import is_standard


def adopt_standard(model: ir.Model, backend: Backend) -> list[LoweredAttention]:
    """Rewrite masks and widths of `model`'s Attention nodes in place and say what each node has to become.

    Run it after functions are inlined and before this package adds Attention nodes of its own.
    """
    nodes = [node for node in model.graph if is_standard(node, "Attention")]
    if any(value is not None and value.shape is None for node in nodes for value in node.inputs[:3]):
        common.ShapeInferencePass()(model)  # nodes that came out of a function have none
    return [_adopt(model.graph, node, backend) for node in nodes]


def _adopt(graph: ir.Graph, node: ir.Node, backend: Backend) -> LoweredAttention:
    q, k, v = node.inputs[:3]
    if q is None or k is None or v is None or None in (q.shape, k.shape, v.shape, q.dtype):
        raise CompileError(f"Attention {node.name}: its inputs have no shapes; export the model again")
    assert q.shape is not None and q.dtype is not None
    heads, dim = _heads(node, "q_num_heads", q)
    kv_heads, value_dim = _heads(node, "kv_num_heads", v)
    batch, rows = q.shape[0], q.shape[-2]
    together = (batch if isinstance(batch, int) else 1) * heads
    why = backend.unfused(q.dtype.name, max(dim, value_dim))
    if not why and (together == 1 or rows == 1):
        why = "a written Attention of one head at batch 1, or of one query row, is not fused"
    mask = _additive_mask(graph, node, q.dtype)
    if value_dim != dim:
        _equal_widths(graph, node, (heads, kv_heads), dim, value_dim)
    return LoweredAttention(
        node.name or "", q.dtype.name, heads, kv_heads, dim, value_dim,
        "decomposed" if why else "fused", mask, key_mask=False, why=why,
    )  # fmt: skip


def _heads(node: ir.Node, attribute: str, value: ir.Value) -> tuple[int, int]:
    """Their number and width, from the attribute for `[B, T, H*D]` and from the shape for `[B, H, T, D]`."""
    assert value.shape is not None
    number: object = value.shape[1]
    if len(value.shape) == 3:
        number = node.attributes[attribute].as_int()
    width = value.shape[-1]
    if not isinstance(number, int) or not isinstance(width, int):
        raise CompileError(f"Attention {node.name}: the number of heads and their size must be fixed")
    return number, width if len(value.shape) == 4 else width // number


def _equal_widths(graph: ir.Graph, node: ir.Node, heads: tuple[int, int], dim: int, value_dim: int) -> None:
    """Put a node of one width in the place of `node`."""
    if any(value is not None for value in node.inputs[4:]):
        raise CompileError(
            f"Attention {node.name} has a cache, and values of head dim {value_dim} with keys of {dim}, which "
            "TensorRT refuses; keep the cache outside"
        )
    edit, widest = GraphEdit(graph, node), max(dim, value_dim)
    q, k, v = node.inputs[:3]
    assert q is not None and k is not None and v is not None and q.shape is not None
    queries, keys = heads if len(q.shape) == 3 else (None, None)
    inputs = [pad(edit, q, queries, dim, widest), pad(edit, k, keys, dim, widest)]
    inputs += [
        pad(edit, v, keys, value_dim, widest),
        *(value for value in node.inputs[3:4] if value is not None),
    ]
    attributes = {"scale": dim**-0.5} | {name: a.value for name, a in node.attributes.items()}
    y = edit.op("Attention", inputs, attributes, name=node.name)
    edit.replace(node, cut(edit, y, queries, value_dim, widest))


def _additive_mask(graph: ir.Graph, node: ir.Node, kind: ir.DataType) -> str:
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    if mask is None:
        causal = node.attributes.get("is_causal")
        return "is_causal" if causal is not None and causal.as_int() else "none"
    if mask.dtype != ir.DataType.BOOL or mask.const_value is None or kind not in EXCLUDED:
        return mask.name or "computed"
    name = f"{mask.name}_{kind.name.lower()}"
    allowed = mask.const_value.numpy()
    array = np.where(allowed, 0.0, EXCLUDED[kind]).astype(kind.numpy())
    node.replace_input_with(3, GraphEdit(graph, node).shared_constant(array, name))
    return name
