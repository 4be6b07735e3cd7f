"""Time several ways of doing the same, interleaved: what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

SAMPLE_SECONDS = 10e-3
"""A sample repeats its call for about this long: neither the clock nor one late thread decides it."""
SLOW_SECONDS = 20e-3
"""Calls that take longer fill the caches themselves within a few per cent of their time."""
LEARNING = 5
"""Calls, at most, from which the cost of one is learned."""
PAUSE_SECONDS = 4e-3
"""One pause in front of a sample; pauses go on while threads of the sample before still spin."""
IDLE_SHARE = 0.25
"""A pause in which the process uses less processor time than this share of it was a quiet one."""
LONGEST_SETTLING = 0.3
"""Seconds after which a sample begins even so."""


class Clock:
    """Where time comes from: of the wall, of this process with all its threads, and pauses. Seconds."""

    def wall(self) -> float:
        return time.perf_counter()

    def processor(self) -> float:
        return time.process_time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


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
    calls: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    most: int = 200,
    least: int = 5,
    clock: Clock | None = None,
) -> dict[str, Timing]:
    """Time every call in rounds, each round in another order, until each has had about `seconds`.

    Every call is made a few times untimed to learn its cost. Each gets at least `least` samples, however slow it is,
    and at most `most`; a slow one leaves the rounds early, so that it does not decide how long the rest takes.
    """
    clock = clock or Clock()
    costs = {name: _cost(call, clock) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    left = dict.fromkeys(calls, seconds)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(most):
            names = [name for name in calls if turn < least or left[name] > 0]
            if not names:
                break
            first = turn % len(names)
            for name in (*names[first:], *names[:first]):
                started = clock.wall()
                samples[name].append(_sample(calls[name], costs[name], clock))
                left[name] -= clock.wall() - started
    finally:
        if collecting:
            gc.enable()
    return {name: Timing.of(taken) for name, taken in samples.items()}


def each_run(call: Callable[[], object], seconds: float, clock: Clock | None = None) -> list[float]:
    """Seconds of every run for about `seconds`, one at least: the runs before have ended, and data is in the caches."""
    clock = clock or Clock()
    settle(clock)
    call()
    taken: list[float] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        end = clock.wall() + seconds
        while True:
            started = clock.wall()
            call()
            ended = clock.wall()
            taken.append(ended - started)
            if ended >= end:
                return taken
    finally:
        if collecting:
            gc.enable()


def _cost(call: Callable[[], object], clock: Clock) -> float:
    """Seconds of the fastest of a few calls, without the first, which may still allocate: one that was interrupted
    would make the samples of a fast call too short.
    """
    call()
    fastest = math.inf
    for _ in range(LEARNING):
        started = clock.wall()
        call()
        fastest = min(fastest, clock.wall() - started)
        if fastest > SLOW_SECONDS:
            break
    return max(fastest, 1e-7)


def _sample(call: Callable[[], object], cost: float, clock: Clock) -> float:
    repeats = max(1, math.ceil(SAMPLE_SECONDS / cost))
    settle(clock)
    if cost < SLOW_SECONDS:
        call()  # its data comes back into the caches, its threads wake up
    in_c = getattr(call, "repeat", None)  # many calls without Python between them
    started = clock.wall()
    if in_c is not None:
        in_c(repeats)
    else:
        for _ in range(repeats):
            call()
    return (clock.wall() - started) / repeats


def settle(clock: Clock) -> None:
    """Wait until the threads of the contender before have gone to sleep: they would steal the cores.

    Thread pools spin for a while after their last task, ONNX Runtime's for tens of milliseconds.
    """
    limit = clock.wall() + LONGEST_SETTLING
    while clock.wall() < limit:
        before = clock.processor()
        clock.sleep(PAUSE_SECONDS)
        if clock.processor() - before < IDLE_SHARE * PAUSE_SECONDS:
            return
