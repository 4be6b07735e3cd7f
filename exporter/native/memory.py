"""Where the tensors of one run lie: offsets in a scratch memory that those share whose lives do not meet."""

from __future__ import annotations

from dataclasses import dataclass

ALIGNMENT = 64
"""Bytes: a cache line."""


def aligned(size: int) -> int:
    """`size` bytes, up to a whole number of cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass
class _Block:
    offset: int
    bytes: int
    until: int
    """The last step that needs it."""


class Scratch:
    """First fit: a tensor gets the lowest place that is free from the step that makes it to the last that reads it."""

    def __init__(self) -> None:
        self._taken: list[_Block] = []
        self.bytes = 0

    def take(self, size: int, step: int, until: int) -> int:
        """The offset of `size` bytes that are needed from `step` to `until`; steps never go down from call to call."""
        size = aligned(size)
        self._taken = sorted((b for b in self._taken if b.until >= step), key=lambda b: b.offset)
        offset = 0
        for block in self._taken:
            if block.offset - offset >= size:
                break
            offset = max(offset, block.offset + block.bytes)
        self._taken.append(_Block(offset, size, until))
        self.bytes = max(self.bytes, offset + size)
        return offset
