"""Time several ways of doing the same, interleaved: what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

SAMPLE_SECONDS = 2e-3
"""A sample repeats its call for about this long, so that the clock's own cost does not count."""
SETTLE_SECONDS = 2e-3
"""Pause in front of a sample: thread pools of the one before stop spinning, which would steal the cores."""
SLOW_SECONDS = 20e-3
"""Calls that take longer fill the caches themselves within a few per cent of their time."""


@dataclass(frozen=True)
class Timing:
    """Seconds per call over all samples: median, quartiles and minimum."""

    median: float
    lower: float
    upper: float
    minimum: float
    samples: int

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        lower, median, upper = (float(q) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
        return cls(median, lower, upper, min(seconds), len(seconds))


def interleaved(
    calls: Mapping[str, Callable[[], object]], *, seconds: float, most: int = 200, least: int = 5
) -> dict[str, Timing]:
    """Time every call in rounds, each round in another order, for about `seconds` altogether.

    Every call is made twice untimed to learn its cost. There are at least `least` rounds, however slow the
    calls are, and at most `most`.
    """
    costs = {name: _cost(call) for name, call in calls.items()}
    names = list(calls)
    samples: dict[str, list[float]] = {name: [] for name in names}
    started, done = time.perf_counter(), 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        while names and done < most and (done < least or time.perf_counter() - started < seconds):
            turn = done % len(names)
            for name in (*names[turn:], *names[:turn]):
                samples[name].append(_sample(calls[name], costs[name]))
            done += 1
    finally:
        if collecting:
            gc.enable()
    return {name: Timing.of(seconds) for name, seconds in samples.items()}


def _cost(call: Callable[[], object]) -> float:
    """Seconds of the second call; the first may still allocate."""
    call()
    started = time.perf_counter()
    call()
    return max(time.perf_counter() - started, 1e-7)


def _sample(call: Callable[[], object], cost: float) -> float:
    repeats = max(1, math.ceil(SAMPLE_SECONDS / cost))
    time.sleep(SETTLE_SECONDS)
    if cost < SLOW_SECONDS:
        call()  # its data comes back into the caches
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats
