"""Numbers as protobuf and WebAssembly write them: seven bits to a byte, the low ones first (unsigned LEB128)."""

from __future__ import annotations

import mmap


def varint(content: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends. ValueError where it has more than ten bytes."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than ten bytes")
