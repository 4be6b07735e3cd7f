"""Who takes part in a comparison: what computes the right numbers; then all are timed together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.bench.timing import Timing, interleaved

Call = Callable[[], npt.NDArray[Any]]


@dataclass(frozen=True)
class Row:
    """One contender; times in seconds, `error` is the largest difference from the truth."""

    name: str
    timing: Timing
    error: float


def contest(
    names: Iterable[str],
    ours: Collection[str],
    *,
    absent: Callable[[str], str | None],
    prepare: Callable[[str], Call],
    error: Callable[[npt.NDArray[Any]], float],
    allowed: float,
    seconds: float,
) -> tuple[list[Row], dict[str, str]]:
    """Rows of those that ran, in order, and the reason for each of the others.

    absent    why a contender cannot run here, or None
    prepare   the contender as a call without arguments that gives its output
    allowed   a contender with a larger error computes something else, so its time means nothing
    seconds   per contender
    A peer that fails to prepare or run is left out with what it said; a failure of `ours` is raised.
    """
    calls, errors, left_out = {}, {}, {}
    for name in names:
        if reason := absent(name):
            left_out[name] = reason
            continue
        try:
            call = prepare(name)
            wrong = error(call())
        except Exception as failure:
            if name in ours:
                raise
            left_out[name] = f"fails: {next(iter(str(failure).splitlines()), type(failure).__name__)}"
            continue
        if wrong <= allowed:  # false for NaN
            calls[name], errors[name] = call, wrong
        else:
            left_out[name] = f"computes something else: largest difference {wrong:.2g}"
    timings = interleaved(calls, seconds=seconds)
    return [Row(name, timing, errors[name]) for name, timing in timings.items()], left_out


def largest_difference(output: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    """max|output - truth|, NaN where the output has one."""
    return float(np.abs(output - truth).max())
