"""Axes of a node, and shapes taken apart at them."""

from __future__ import annotations

from collections.abc import Sequence

from temport.exporter.native.call import Call
from temport.exporter.native.sizes import Size, product


def axis_of(call: Call, rank: int, default: int = -1) -> int:
    """The attribute `axis`, from 0 on."""
    return int(call.attribute("axis", default)) % rank


def parted(shape: Sequence[Size], axis: int, stop: int | None = None) -> tuple[Size, Size, Size]:
    """How many entries the axes before `axis` have together, those from it to `stop` (itself), and those behind."""
    axis %= len(shape)
    stop = axis + 1 if stop is None else stop
    return product(shape[:axis]), product(shape[axis:stop]), product(shape[stop:])
