"""The ways to write one attention for TensorRT; which one depends on sizes its fused kernels do not take.

All take queries `[B, T, H*D]`, keys `[B, S, Hkv*D]`, values `[B, S, Hkv*Dv]` and an additive mask that
broadcasts to `[B, 1, T, S]` (or None), and return `[B, T, H*Dv]`. The limits were measured with
TensorRT-RTX 1.7.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from temport.exporter.compilers.graph_edit import GraphEdit
from temport.exporter.compilers.head_width import pad

_COPY, _AUTO = 0, -1
_SMALLEST_POWER = -14
"""Of the normal numbers in float16."""


@dataclass(frozen=True)
class Operands:
    """One attention's inputs and sizes."""

    q: ir.Value
    k: ir.Value
    v: ir.Value
    mask: ir.Value | None
    heads: int
    kv_heads: int
    dim: int
    value_dim: int
    scale: float

    @property
    def widest(self) -> int:
        """Of a head's keys and values: the width that TensorRT needs both to have."""
        return max(self.dim, self.value_dim)

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


def halves_as_heads(edit: GraphEdit, x: Operands, rows: int, name: str) -> ir.Value:
    """Batch 1 with one head and an even number of rows: each half of the rows is a query head on the one
    key head.

    The fused kernel needs batch times heads to be 2 or more; this costs it nothing.
    """
    half = rows // 2
    shapes = [(1, 2, half, x.dim), (1, 1, _AUTO, x.dim), (1, 1, _AUTO, x.value_dim), (1, 2, half, _AUTO)]
    split = [_reshape(edit, value, shape) for value, shape in zip(x.values, shapes, strict=False)]
    y = edit.op("Attention", split, {"scale": x.scale}, name=name)
    return _reshape(edit, y, (1, rows, x.value_dim))


def equal_widths(edit: GraphEdit, x: Operands) -> Operands:
    """The same attention with keys and values of one width; `head_width.cut` its result."""
    q, k = (pad(edit, y, n, x.dim, x.widest) for y, n in ((x.q, x.heads), (x.k, x.kv_heads)))
    v = pad(edit, x.v, x.kv_heads, x.value_dim, x.widest)
    return replace(x, q=q, k=k, v=v, dim=x.widest, value_dim=x.widest)


def scaled_queries(edit: GraphEdit, x: Operands, element_type: ir.DataType) -> Operands:
    """The same attention with the scale in its queries, multiplied in float32 and rounded once.

    Left to the node, TensorRT multiplies queries and keys by the scale's root, each in a kernel of their own where
    keys are what a layer reads too.
    """
    scale = edit.constant(np.array(x.scale, np.float32), "scale")
    q = _cast(edit, edit.op("Mul", [_cast(edit, x.q, ir.DataType.FLOAT), scale]), element_type)
    return replace(x, q=q, scale=1.0)


def products(
    edit: GraphEdit, x: Operands, rows: int | None, element_type: ir.DataType, name: str
) -> ir.Value:
    """Two matrix products around a softmax in float32, for what no Attention node can say: one query row of fewer
    than 4 heads in all, or values of another width than keys where no kernel is at hand for padded ones.

    The query heads that share a key head become rows, so grouped heads cost nothing more.
    """
    group = x.heads // x.kv_heads
    shared = group > 1 and rows != 1
    # a power of two keeps every digit of a half number, and what it leaves of the scale is applied in float32
    power = 2.0 ** min(0, max(_SMALLEST_POWER, math.frexp(x.scale)[1] - 1))
    q = edit.op("Mul", [x.q, edit.constant(np.array(power, element_type.numpy()), "scale")])
    if rows != 1:
        q = _by_head(edit, q, x.heads, [0, 2, 1, 3])
    if rows == 1 or shared:
        q = _reshape(edit, q, (_COPY, x.kv_heads, _AUTO, x.dim))
    scores = edit.op("MatMul", [q, _by_head(edit, x.k, x.kv_heads, [0, 2, 3, 1])])
    scores = _cast(edit, scores, ir.DataType.FLOAT)
    if x.scale != power:
        scores = edit.op("Mul", [scores, edit.constant(np.array(x.scale / power, np.float32), "scale")])
    if x.mask is not None:
        if shared:  # the mask is one for all heads
            scores = _reshape(edit, scores, (_COPY, x.heads, _AUTO, _COPY))
        scores = edit.op("Add", [scores, _cast(edit, x.mask, ir.DataType.FLOAT)])
        if shared:
            scores = _reshape(edit, scores, (_COPY, x.kv_heads, _AUTO, _COPY))
    weights = _cast(edit, edit.op("Softmax", [scores], {"axis": -1}, name=name), element_type)
    y = edit.op("MatMul", [weights, _by_head(edit, x.v, x.kv_heads, [0, 2, 1, 3])])
    if rows == 1:
        return _reshape(edit, y, (_COPY, 1, _AUTO))
    if shared:
        y = _reshape(edit, y, (_COPY, x.heads, _AUTO, _COPY))
    return _reshape(edit, edit.op("Transpose", [y], {"perm": [0, 2, 1, 3]}), (_COPY, _COPY, _AUTO))


def _by_head(edit: GraphEdit, value: ir.Value, heads: int, perm: list[int]) -> ir.Value:
    return edit.op("Transpose", [_reshape(edit, value, (_COPY, _COPY, heads, _AUTO))], {"perm": perm})


def _cast(edit: GraphEdit, value: ir.Value, element_type: ir.DataType) -> ir.Value:
    return edit.op("Cast", [value], {"to": element_type})


def _reshape(edit: GraphEdit, value: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    return edit.op("Reshape", [value, edit.constant(np.array(shape), "shape")])
