"""The weights of an engine as one blob, every tensor on a cache line of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.native.memory import aligned

DEPTH = {np.dtype(np.int8): 4}
"""Inputs of an output that lie next to each other in a panel, by the type of the weight; 1 of all others. `kDepth` of
custom_ops/native/column_panels.h."""
EIGHT = 8
"""Inputs of an output in a word of int4."""


class Blob:
    """Tensors behind each other; one that is there already is not stored again."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._places: dict[bytes, int] = {}
        self.bytes = 0

    def add(self, array: npt.NDArray[Any]) -> int:
        """The offset in bytes at which the elements of `array` lie."""
        data = np.ascontiguousarray(array).tobytes()
        data = data.ljust(aligned(len(data)), b"\0")
        if data not in self._places:
            self._places[data] = self.bytes
            self._parts.append(data)
            self.bytes += len(data)
        return self._places[data]

    def content(self) -> bytes:
        return b"".join(self._parts)


def panels(weight: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    """`[..., inputs, outputs]` as panels of `width` outputs, `[..., panels, inputs, width]`, or where several inputs
    lie together `[..., panels, groups, width, DEPTH]`; what is missing is 0. Bytes are 128 more than they are.

    The layout of custom_ops/native/column_panels.h.
    """
    *leading, inputs, outputs = weight.shape
    depth, count = DEPTH.get(weight.dtype, 1), -(-outputs // width)
    groups = -(-inputs // depth)
    padded = np.zeros((*leading, groups * depth, count * width), weight.dtype)
    padded[..., :inputs, :outputs] = weight
    if depth > 1:
        padded ^= np.array(-128, weight.dtype)
    if depth == 1:
        return np.moveaxis(padded.reshape(*leading, inputs, count, width), -2, -3)
    by_group = padded.reshape(*leading, groups, depth, count, width)
    return np.moveaxis(np.moveaxis(by_group, -3, -1), -3, -4)


def teams(weight: npt.NDArray[Any], gates: int, width: int) -> npt.NDArray[Any]:
    """`[gates * hidden, inputs]` as panels, those of all gates of `width` units next to each other.

    The layout of custom_ops/native/recurrence.h.
    """
    hidden = weight.shape[0] // gates
    by_gate = panels(np.swapaxes(weight.reshape(gates, hidden, -1), 1, 2), width)
    return np.swapaxes(by_gate, 0, 1)


def int4_words(weight: npt.NDArray[Any], scale: npt.NDArray[Any], axis: int) -> npt.NDArray[np.uint32]:
    """A weight of int4 with words along `axis`, that of its inputs: for each block the bits of its scale, then eight
    integers in a word.

    scale  as `weight`, with blocks along `axis`

    The layout of custom_ops/native/nibble_panels.h.
    """
    integers, scales = (np.moveaxis(array, axis, -1) for array in (weight.astype(np.int64), scale))
    *others, blocks = scales.shape
    nth = np.arange(EIGHT)
    eights = (integers + 8).reshape(*others, blocks, -1, EIGHT) << nth % 4 * 8 + nth // 4 * 4
    bits = np.ascontiguousarray(scales, np.float32).view(np.uint32)
    words = np.concatenate([bits[..., None], eights.sum(-1).astype(np.uint32)], -1)
    return np.moveaxis(words.reshape(*others, -1), -1, axis)
