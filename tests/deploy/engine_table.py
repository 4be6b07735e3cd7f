"""A native engine by its own C interface: the table of temport_engine.h, and its memory, through ctypes."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from pathlib import Path

import numpy as np

LIBRARY = "engine/libsmall.so"
"""Of `small_bundles.add_native_engine`."""


class Table(Structure):
    _fields_ = (
        ("abi", c_uint32),
        *((name, c_char_p) for name in ("temport", "model", "isa")),
        *((name, c_size_t) for name in ("memory_bytes", "alignment", "state_bytes", "weight_bytes")),
        *((name, c_uint32) for name in ("axis_count", "input_count", "output_count", "state_count")),
        *((name, c_void_p) for name in ("axis", "input", "output", "state")),
        ("reset", CFUNCTYPE(None, c_void_p)),
        *((name, c_void_p) for name in ("run", "load", "store")),
        ("saved_bytes", CFUNCTYPE(c_size_t, c_void_p)),
        ("save", CFUNCTYPE(c_int, c_void_p, c_void_p, c_int64, c_void_p)),
        ("restore", CFUNCTYPE(c_int, c_void_p, c_void_p, c_int64, c_char_p, c_size_t)),
    )


class Engine:
    """One instance, whose only open axis is `batch`."""

    def __init__(self, bundle: Path, batch: int) -> None:
        library = ctypes.CDLL(str(bundle / LIBRARY))
        library.temport_engine_of_this_library.restype = POINTER(Table)
        self._table: Table = library.temport_engine_of_this_library().contents
        self._sizes = (c_int64 * 1)(batch)
        self._own = np.zeros(self._table.memory_bytes + self._table.alignment, np.uint8)
        self._memory = self._own.ctypes.data + -self._own.ctypes.data % self._table.alignment
        self._table.reset(self._memory)

    def save(self, entry: int) -> tuple[int, bytes]:
        """Its code, and the bytes."""
        saved = ctypes.create_string_buffer(self._table.saved_bytes(self._sizes))
        return int(self._table.save(self._memory, self._sizes, entry, saved)), saved.raw

    def restore(self, entry: int, saved: bytes) -> int:
        return int(self._table.restore(self._memory, self._sizes, entry, saved, len(saved)))
