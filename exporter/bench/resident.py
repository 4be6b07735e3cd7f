"""Resident memory of this process, from Linux's /proc."""

from __future__ import annotations

import re
from pathlib import Path


def status_kib(field: str) -> int:
    """A field of /proc/self/status in KiB."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1))
