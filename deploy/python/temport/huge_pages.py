"""Constants of a loaded library on huge pages: what every run reads whole waits for fewer translated addresses."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

LEAST = 4 << 20
"""Bytes below which nothing is gained: so much is translated by what processors remember."""
_SETTINGS = Path("/sys/kernel/mm/transparent_hugepage")
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2
_FAILED = ctypes.c_void_p(-1).value


def move_to_huge_pages(address: int, size: int) -> int:
    """Puts the whole huge pages of memory that is only read onto such pages, at the same addresses.

    Returns how many bytes that were; 0 where the system has none to give, and then all is as it was.
    """
    page = _page_size()
    begin, end = -(-address // page) * page if page else 0, (address + size) // page * page if page else 0
    length = end - begin
    if length <= 0:
        return 0
    libc = _libc()
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    room = libc.mmap(None, length + page, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if room == _FAILED:
        return 0
    place = -(-room // page) * page
    libc.madvise(place, length, mmap.MADV_HUGEPAGE)
    ctypes.memmove(place, begin, length)
    libc.mprotect(place, length, mmap.PROT_READ)
    moved = libc.mremap(place, length, length, _MREMAP_MAYMOVE | _MREMAP_FIXED, begin) == begin
    for at, size in (
        (room, place - room),
        (place, 0 if moved else length),
        (place + length, room + page - place),
    ):
        if size:
            libc.munmap(at, size)
    return length if moved else 0


def _page_size() -> int:
    """Bytes of a huge page; 0 where the system gives none to who asks."""
    try:
        if "[never]" in (_SETTINGS / "enabled").read_text():
            return 0
        return int((_SETTINGS / "hpage_pmd_size").read_text())
    except (OSError, ValueError):
        return 0


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for function, result, arguments in (
        (libc.mmap, pointer, (pointer, size, number, number, number, ctypes.c_long)),
        (libc.mremap, pointer, (pointer, size, size, number, pointer)),
        (libc.madvise, number, (pointer, size, number)),
        (libc.mprotect, number, (pointer, size, number)),
        (libc.munmap, number, (pointer, size)),
    ):
        function.restype, function.argtypes = result, list(arguments)
    return libc
