"""Constants of a library move onto huge pages, and nobody who reads them notices."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np
import pytest

from temport import huge_pages

SIZE = (6 << 20) + 4096


@pytest.fixture
def constants() -> tuple[np.ndarray, int]:
    """What a file holds, and where it is mapped to be read, as the loader does it."""
    content = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
    descriptor = os.memfd_create("constants")
    os.write(descriptor, content.tobytes())
    libc = huge_pages._libc()
    address = libc.mmap(None, SIZE, 1, 2, descriptor, 0)
    os.close(descriptor)
    return content, address


def test_they_are_the_same(constants: tuple[np.ndarray, int]) -> None:
    content, address = constants
    before = _mappings()
    moved = huge_pages.move_to_huge_pages(address, SIZE)
    if huge_pages._page_size():
        assert moved in (4 << 20, 6 << 20) and _huge_kib(address) * 1024 == moved
    assert ctypes.string_at(address, SIZE) == content.tobytes()
    assert _mappings() <= before + 3  # the two ends stay the file's


def test_where_there_is_none_all_stays(
    constants: tuple[np.ndarray, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content, address = constants
    assert huge_pages.move_to_huge_pages(address, 1 << 20) == 0
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    monkeypatch.setattr(huge_pages, "_SETTINGS", tmp_path)
    assert huge_pages.move_to_huge_pages(address, SIZE) == 0
    assert ctypes.string_at(address, SIZE) == content.tobytes()


def _mappings() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


def _huge_kib(address: int) -> int:
    """Of the mappings that lie within the constants."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            inside = address <= int(first.split("-")[0], 16) < address + SIZE
        elif inside and first == "AnonHugePages:":
            found += int(line.split()[1])
    return found
