"""What two bundles, reports or scorecards can differ in, and when that is worse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from temport.exporter.parity.result import FAIL, ILL, NOT_RUN, PASS

SIGNATURE, WEIGHTS, GRAPH, PASSES = "signature", "weights", "graph", "passes"
VERDICTS, SIZE, SPEED = "verdicts", "size", "speed"
ASPECTS = (SIGNATURE, WEIGHTS, GRAPH, PASSES, VERDICTS, SIZE, SPEED)
USUAL = (SIGNATURE, VERDICTS)
RANK = {PASS: 0, NOT_RUN: 1, ILL: 2, FAIL: 3}


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was. `worse`: whoever asks for its aspect fails of it."""

    aspect: str
    told: str
    worse: bool = True


def grown(
    aspect: str,
    what: str,
    numbers: tuple[float | None, float | None],
    tolerance: float,
    shown: Callable[[float], str],
) -> Iterator[Difference]:
    """A number that is another one by more than the tolerance; worse where it is larger. None: there is none."""
    before, after = numbers
    if before is None or after is None or max(before, after) <= (1 + tolerance) * min(before, after):
        return
    yield Difference(aspect, f"{what}: {shown(before)} before, {shown(after)} now", after > before)


def verdicts(what: str, before: str, after: str, reason: str) -> Iterator[Difference]:
    """A verdict that is another one."""
    if before != after:
        why = f" ({reason})" if reason else ""
        yield Difference(VERDICTS, f"{what}: {before} before, {after} now{why}", RANK[after] > RANK[before])
