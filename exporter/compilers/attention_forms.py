"""The ways to write one attention for TensorRT; which one depends on sizes its fused kernels do not take.

All take queries `[B, T, H*D]`, keys `[B, S, Hkv*D]`, values `[B, S, Hkv*Dv]` and an additive mask that
broadcasts to `[B, 1, T, S]` (or None), and return `[B, T, H*Dv]`. The limits were measured with
TensorRT-RTX 1.7.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from exporter.compilers.graph_edit import GraphEdit

_COPY, _AUTO = 0, -1


@dataclass(frozen=True)
class Operands:
    """One attention's inputs and sizes."""

    q: ir.Value
    k: ir.Value
    v: ir.Value
    mask: ir.Value | None
    heads: int
    kv_heads: int
    scale: float

    @property
    def values(self) -> list[ir.Value]:
        return [self.q, self.k, self.v, *([] if self.mask is None else [self.mask])]


def one_node(edit: GraphEdit, x: Operands, is_causal: bool, name: str) -> ir.Value:
    """One `ai.onnx::Attention`, the form of almost every case."""
    attributes = {
        "q_num_heads": x.heads,
        "kv_num_heads": x.kv_heads,
        "scale": x.scale,
        "is_causal": int(is_causal),
    }
    return edit.op("Attention", x.values, attributes, name=name)


def halves_as_heads(edit: GraphEdit, x: Operands, rows: int, head_dim: int, name: str) -> ir.Value:
    """Batch 1 with one head and an even number of rows: each half of the rows is a query head on the one
    key head.

    The fused kernel needs batch times heads to be 2 or more; this costs it nothing.
    """
    half = rows // 2
    shapes = [(1, 2, half, head_dim), (1, 1, _AUTO, head_dim), (1, 1, _AUTO, head_dim), (1, 2, half, _AUTO)]
    split = [_reshape(edit, value, shape) for value, shape in zip(x.values, shapes, strict=False)]
    y = edit.op("Attention", split, {"scale": x.scale}, name=name)
    return _reshape(edit, y, (1, rows, head_dim))


def single_row(edit: GraphEdit, x: Operands, element_type: ir.DataType, name: str) -> ir.Value:
    """One query row by matrix products: an Attention node of one row fails to build below 4 heads in all.

    The query heads that share a key head become rows, so grouped heads cost nothing more.
    """
    group = x.heads // x.kv_heads
    scale = edit.constant(np.array(x.scale, element_type.numpy()), "scale")
    q = _reshape(edit, edit.op("Mul", [x.q, scale]), (_COPY, x.kv_heads, group, _AUTO))
    keys = edit.op(
        "Transpose", [_reshape(edit, x.k, (_COPY, _COPY, x.kv_heads, _AUTO))], {"perm": [0, 2, 3, 1]}
    )
    values = edit.op(
        "Transpose", [_reshape(edit, x.v, (_COPY, _COPY, x.kv_heads, _AUTO))], {"perm": [0, 2, 1, 3]}
    )
    scores = edit.op("MatMul", [q, keys])
    if x.mask is not None:
        scores = edit.op("Add", [scores, x.mask])
    wide = edit.op("Cast", [scores], {"to": ir.DataType.FLOAT})
    weights = edit.op("Cast", [edit.op("Softmax", [wide], {"axis": -1}, name=name)], {"to": element_type})
    return _reshape(edit, edit.op("MatMul", [weights, values]), (_COPY, 1, _AUTO))


def _reshape(edit: GraphEdit, value: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    return edit.op("Reshape", [value, edit.constant(np.array(shape), "shape")])
