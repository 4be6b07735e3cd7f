"""Sizes of a sequence graph along time, and what they are in the graph of one frame."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from temport.exporter.declare.sizes import names, normal, size

Size = int | ir.SymbolicDim
TIME = "seq"
"""The name of the axis of time."""
_ELSE = 7
"""Any size of the other axes."""


def number(dim: Size) -> int:
    """A size that is a number; ValueError where it is open."""
    if not isinstance(dim, int):
        raise ValueError(f"the size {dim.value} is open")
    return dim


def along_time(dim: Size) -> bool:
    """Whether a size moves with the number of frames."""
    return not isinstance(dim, int) and dim.value is not None and TIME in _names(dim)


def entries(dim: Size) -> int | None:
    """How many entries of an axis come with each frame: 3 of `3*seq`; None where they do not come frame by frame."""
    if isinstance(dim, int) or not along_time(dim) or _names(dim) != {TIME}:
        return None
    first, second, third = (_at(dim, 1000 + more) for more in range(3))
    return second - first if third - second == second - first > 0 else None


def extra(dim: Size, rows: int = 1) -> int | None:
    """How many more entries than `rows` for each frame an axis has; None where other than that many come with each."""
    return _at(dim, 1000) - 1000 * rows if entries(dim) == rows and not isinstance(dim, int) else None


def frame_size(dim: Size) -> Size:
    """The size of an axis in one frame: of `3*seq`, and of `3*seq + 6`, 3."""
    return entries(dim) or 1 if along_time(dim) else dim


def of_one_frame(dim: Size) -> Size:
    """The size where there is one frame: of `batch*seq` the batch."""
    if isinstance(dim, int) or not along_time(dim):
        return dim
    others = sorted(_names(dim) - {TIME})
    if not others:
        return _at(dim, 1)
    if len(others) > 1 or _at(dim, 1, 2) != 2 * _at(dim, 1, 1):
        raise ValueError(f"the size {dim.value} is no multiple of the batch where there is one frame")
    count = _at(dim, 1, 1)
    return ir.SymbolicDim(others[0] if count == 1 else normal(f"{count}*{others[0]}"))


def times_batch(dim: Size, batch: Size) -> int | None:
    """How many rows an axis has for each entry of the batch; None where it is no multiple of it."""
    if isinstance(batch, int):
        return dim // batch if isinstance(dim, int) and dim % batch == 0 else None
    if isinstance(dim, int) or batch.value not in _names(dim):
        return None
    one, two = (size(normal(str(dim.value)), {n: k for n in _names(dim)}) for k in (1, 2))
    return one if two == 2 * one else None


def axes_of_time(shape: Sequence[Size]) -> list[int]:
    return [axis for axis, dim in enumerate(shape) if along_time(dim)]


def _names(dim: ir.SymbolicDim) -> set[str]:
    try:
        return names(normal(str(dim.value)))
    except ValueError:
        return set()


def _at(dim: ir.SymbolicDim, frames: int, others: int = _ELSE) -> int:
    return size(normal(str(dim.value)), {n: frames if n == TIME else others for n in _names(dim)})
