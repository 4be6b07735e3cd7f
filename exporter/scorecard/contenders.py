"""What takes part in a scorecard: a runtime in a process of its own, or a program like `temport-run`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from temport.exporter.runtimes.apart import OPENING, OtherProcess
from temport.exporter.runtimes.contract import Runtime
from temport.exporter.scorecard.allocations import preloaded
from temport.exporter.scorecard.card import ENOUGH, Speed
from temport.exporter.scorecard.worker import Task, Weight, measured

SPARE = 60.0
"""Seconds that a sample may take longer than it was asked to."""
LEARNING, MOST = 50, 1_000_000
"""Frames from which a program's cost is learned, and the most that it is asked for at once."""


class Contender(Protocol):
    """Asked for `seconds` of runs again and again, in turn with others; nothing of it runs in between.

    parts  in how many samples it is measured, a divisor of `measure.TURNS`
    """

    parts: int

    def begin(self) -> dict[str, Any]:
        """Fields of its row that are known before it is timed."""
        ...

    def sample(self, seconds: float) -> None: ...

    def speed(self) -> Speed: ...

    def close(self) -> None: ...


@dataclass
class Loaded:
    """A runtime of Python's.

    make  gives it where it has to be made for this bundle
    """

    task: Task
    make: Callable[[], Runtime] | None = None
    parts: int = 20
    _process: OtherProcess | None = None
    _seconds: list[float] = field(default_factory=list)

    def begin(self) -> dict[str, Any]:
        task = self.task if self.make is None else replace(self.task, ready=self.make())
        with preloaded(task.counter):
            self._process = OtherProcess(measured, task)
        weight: Weight = self._process.begin("load", OPENING)
        return dict(vars(weight))

    def sample(self, seconds: float) -> None:
        assert self._process is not None, "it has begun"
        self._seconds += self._process.ask(seconds, "run", seconds + SPARE)

    def speed(self) -> Speed:
        return Speed.of(self._seconds)

    def close(self) -> None:
        if self._process is not None:
            self._process.close()


@dataclass
class Program:
    """A program that times itself: each sample is one run of it, and its figures are the medians over the samples.

    run  as `runner.Runner` has it
    """

    run: Callable[[Path, Sequence[str]], dict[str, Any]]
    bundle: Path
    parts: int = 4
    _taken: list[dict[str, Any]] = field(default_factory=list)
    _cost: float = 0.0

    def begin(self) -> dict[str, Any]:
        said = self._bench(LEARNING)
        self._cost = max(1e-7, 1e-6 * said["latency"]["p50"])
        process = said.get("process", {})
        library = f" from {said['library']}" if said.get("library") else ""
        return {
            "path": said["path"],
            "version": f"{said['runner']}, {said['runtime']} {said['version']}{library}",
            "machine": said.get("machine", ""),
            "load": process.get("load"),
            "libraries": process.get("libraries"),
            "memory": process.get("memory"),
        }

    def sample(self, seconds: float) -> None:
        self._taken.append(self._bench(min(MOST, max(1, round(seconds / self._cost))))["latency"])

    def speed(self) -> Speed:
        runs = min(taken["frames"] for taken in self._taken)
        p50, p99_9, longest = (
            1e-6 * statistics.median(taken[name] for taken in self._taken) for name in ("p50", "p99_9", "max")
        )
        q5, q25, q75 = (
            1e-6 * statistics.median(_quantile(taken["histogram"], share) for taken in self._taken)
            for share in (0.05, 0.25, 0.75)
        )
        if runs < ENOUGH:
            p99_9 = longest
        # the edge of a bin may lie beyond what is known to be in it
        return Speed((min(q5, p50), min(q25, p50), p50, min(max(q75, p50), p99_9), p99_9, longest), runs)

    def close(self) -> None:
        """It runs no more."""

    def _bench(self, frames: int) -> dict[str, Any]:
        return self.run(self.bundle, ("--bench", "--frames", str(frames), "--threads", "1"))


def _quantile(histogram: dict[str, list[float]], share: float) -> float:
    """The upper edge of the bin in which so large a share of all is reached."""
    reached = 0.0
    for count, edge in zip(histogram["counts"], histogram["edges"][1:], strict=True):
        reached += count
        if reached >= share * sum(histogram["counts"]):
            return edge
    return histogram["edges"][-1]
