"""What this machine is."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def description() -> str:
    """Processor and cores that this process may use."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        model = found[0].split(":", 1)[1].strip() if found else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores"
