"""Heads of one width for TensorRT, whose parser takes no attention with values wider or narrower than its keys.

Zeros behind queries and keys add nothing to a score; zeros behind values become columns of the result that `cut`
takes off again. The scale must be written out, since its default is a power of the width.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.exporter.compilers.graph_edit import GraphEdit

_COPY = 0


def pad(edit: GraphEdit, value: ir.Value, heads: int | None, width: int, widest: int) -> ir.Value:
    """`value` `[B, T, heads*width]`, or `[B, H, T, width]` where `heads` is None, with every head `widest` wide."""
    if width == widest:
        return value
    zeros = edit.constant(np.array([0] * 7 + [widest - width]), "pads")
    padded = edit.op("Pad", [_by_head(edit, value, heads, width), zeros])
    return _joined(edit, padded, heads, widest)


def cut(edit: GraphEdit, value: ir.Value, heads: int | None, width: int, widest: int) -> ir.Value:
    """The first `width` columns of every head, shapes as in `pad`."""
    if width == widest:
        return value
    bounds = (0, "first"), (width, "end"), (3, "axis")
    inputs = [_by_head(edit, value, heads, widest)]
    inputs += [edit.constant(np.array([n]), role) for n, role in bounds]
    return _joined(edit, edit.op("Slice", inputs), heads, width)


def _by_head(edit: GraphEdit, value: ir.Value, heads: int | None, width: int) -> ir.Value:
    if heads is None:
        return value
    return edit.op("Reshape", [value, edit.constant(np.array([_COPY, _COPY, heads, width]), "by_head")])


def _joined(edit: GraphEdit, value: ir.Value, heads: int | None, width: int) -> ir.Value:
    if heads is None:
        return value
    return edit.op("Reshape", [value, edit.constant(np.array([_COPY, _COPY, heads * width]), "joined")])
