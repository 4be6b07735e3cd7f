"""Before every step of a long measurement: how far it is, what it is, and what comes next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Say = Callable[[str], None]
Step = TypeVar("Step")


def announced(steps: Sequence[Step], say: Say) -> Iterator[Step]:
    """The steps, each told before it begins: `[ 12 s] 3 of 18: this; then that`."""
    started = time.monotonic()
    for i, step in enumerate(steps):
        following = f"; then {steps[i + 1]}" if i + 1 < len(steps) else ""
        say(f"[{time.monotonic() - started:3.0f} s] {i + 1} of {len(steps)}: {step}{following}")
        yield step
