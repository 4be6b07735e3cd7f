"""Arguments of one launch, as `cuLaunchKernel` takes them: an array of the addresses of the values."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any


class LaunchArguments:
    """Addresses of the tensors read, 32-bit integers, addresses of the tensors written: the order in which TensorRT
    calls a kernel that travels in an engine (`aot_plugin.py`).

    A ctypes function takes the object itself; it has to live until the launch has returned. Raises ValueError for an
    integer beyond 32 bits, which ctypes would cut.
    """

    def __init__(self, read: Sequence[int], integers: Sequence[int], written: Sequence[int]) -> None:
        if wide := [n for n in integers if not -(2**31) <= n < 2**31]:
            raise ValueError(f"a kernel takes 32-bit integers, and {wide[0]} is none")
        pointers = [[ctypes.c_void_p(address) for address in part] for part in (read, written)]
        self._values: list[Any] = [*pointers[0], *map(ctypes.c_int32, integers), *pointers[1]]
        self._as_parameter_ = (ctypes.c_void_p * len(self._values))(*map(ctypes.addressof, self._values))

    def __len__(self) -> int:
        return len(self._values)


def float_bits(value: float) -> int:
    """The integer with the bits of `value` in float32: a kernel in an engine takes integers only."""
    return int(struct.unpack("<i", struct.pack("<f", value))[0])
