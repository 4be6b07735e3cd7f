"""What a measurement proves: the conditions of a certificate, each in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from temport.exporter.certify.measure import Measured, Times

NEEDED = frozenset({"memcpy", "memset", "memmove"})
"""Symbols that an engine may want from elsewhere."""
SILENCE = 1.2
"""How many times as long a silent frame may take as a loud one: subnormal numbers take ten times as long and more."""


@dataclass(frozen=True)
class Check:
    """One condition: whether it holds, and the sentence that says so."""

    name: str
    holds: bool
    told: str


def checks(measured: Measured, rate: float, budget: float) -> tuple[Check, ...]:
    """rate in frames per second, budget in seconds"""
    foreign = sorted(set(measured.undefined) - NEEDED)
    loud, silent = measured.times["loud"].at(50.0), measured.times["silent"].at(50.0)
    return (
        Check(
            "allocations",
            measured.allocations == 0,
            f"{measured.allocations or 'no'} allocations in 1000 frames",
        ),
        Check(
            "system calls",
            measured.strict,
            "frames run under seccomp's strict mode"
            if measured.strict
            else f"under seccomp's strict mode signal {measured.signal} ended the process",
        ),
        Check(
            "symbols",
            not foreign,
            f"it needs {', '.join(foreign)} from elsewhere"
            if foreign
            else f"it needs {' and '.join(measured.undefined) or 'nothing'} from elsewhere",
        ),
        Check(
            "NaN and infinity",
            measured.refuses,
            "a frame that holds them is refused, the state as it was"
            if measured.refuses
            else "a frame that holds them is not refused, or changes the state",
        ),
        Check(
            "silence",
            measured.subnormals == 0 and silent <= SILENCE * loud,
            f"a silent frame takes {silent / loud:.2f} of a loud one and leaves {measured.subnormals or 'no'} "
            "subnormal numbers in the state",
        ),
        Check("budget", *_budget(measured, rate, budget)),
    )


def _budget(measured: Measured, rate: float, budget: float) -> tuple[bool, str]:
    """Judged by all but one frame in ten thousand. Where arithmetic alone has such pauses too, nothing is proved."""
    limit = min(budget, 1 / rate) * 1e9
    steady, host = measured.times["steady"], measured.times["host"]
    slowest = max(steady.at(99.99), measured.times["paced"].at(99.99))
    told = (
        f"99.99 % of the frames take at most {_us(slowest)} of {_us(limit)}; the longest took {_us(steady.at(100.0))}, "
        f"and as long a piece of arithmetic {_us(host.at(100.0))}"
    )
    if slowest > limit and host.at(99.99) > limit:
        told += "; this host interrupts arithmetic for longer than the budget: measure again where nothing else runs"
    return slowest <= limit, told


def verdict(found: Sequence[Check], times: Times) -> str:
    """One sentence."""
    failed = [check.name for check in found if not check.holds]
    if failed:
        return f"not certified: {', '.join(failed)}"
    return f"certified: {times.frames} frames, half of them in {_us(times.at(50.0))}, 99.9 % in {_us(times.at(99.9))}"


def _us(nanoseconds: float) -> str:
    return f"{nanoseconds / 1e3:.3g} us"
