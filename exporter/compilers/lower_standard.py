"""Adopt the `ai.onnx::Attention` nodes that a model already has (the standard dialect from opset 23 on).

A boolean mask that is a constant becomes the additive one, which costs TensorRT a third of the kernels; what no
fused kernel takes may be decomposed.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from exporter.compilers.contract import Backend, CompileError
from exporter.compilers.graph_edit import GraphEdit
from exporter.compilers.lower_attention import EXCLUDED, LoweredAttention


def adopt_standard(model: ir.Model, backend: Backend) -> list[LoweredAttention]:
    """Rewrite the masks of `model`'s Attention nodes in place and say what each node has to become.

    Run it after functions are inlined and before this package adds Attention nodes of its own.
    """
    nodes = [node for node in model.graph if _is_attention(node)]
    if any(value is not None and value.shape is None for node in nodes for value in node.inputs[:2]):
        common.ShapeInferencePass()(model)  # nodes that came out of a function have none
    return [_adopt(model.graph, node, backend) for node in nodes]


def _is_attention(node: ir.Node) -> bool:
    return node.op_type == "Attention" and node.domain in ("", "ai.onnx")


def _adopt(graph: ir.Graph, node: ir.Node, backend: Backend) -> LoweredAttention:
    q, k = node.inputs[:2]
    if q is None or k is None or q.shape is None or k.shape is None or q.dtype is None:
        raise CompileError(f"Attention {node.name}: its inputs have no shapes; export the model again")
    heads, kv_heads = _heads(node, "q_num_heads", q.shape), _heads(node, "kv_num_heads", k.shape)
    width = q.shape[-1]
    if heads is None or kv_heads is None or not isinstance(width, int):
        raise CompileError(f"Attention {node.name}: the number of heads and their size must be fixed")
    dim = width if len(q.shape) == 4 else width // heads
    batch, rows = q.shape[0], q.shape[-2]
    together = (batch if isinstance(batch, int) else 1) * heads
    why = backend.unfused(q.dtype.name, dim)
    if not why and (together == 1 or rows == 1):
        why = "a written Attention of one head at batch 1, or of one query row, is not fused"
    return LoweredAttention(
        node.name or "", q.dtype.name, heads, kv_heads, dim, "decomposed" if why else "fused",
        _additive_mask(graph, node, q.dtype), key_mask=False, why=why,
    )  # fmt: skip


def _heads(node: ir.Node, attribute: str, shape: ir.Shape) -> int | None:
    """From the attribute for `[B, T, H*D]`, from the shape for `[B, H, T, D]`."""
    if len(shape) == 3:
        return node.attributes[attribute].as_int()
    return shape[1] if isinstance(shape[1], int) else None


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
