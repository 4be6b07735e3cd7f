"""Whether what a stream carries drifts: a million frames against float64, sampled along the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from temport.exporter.bench.drift_chart import chart
from temport.exporter.bench.stream_models import MODELS, StreamModel
from temport.exporter.bench.stream_steps import Array, Push, exact, exported, in_engine, in_onnxruntime
from temport.exporter.files import write_pair
from temport.exporter.machine import description
from temport.exporter.parity.compare import EPS

FEATURES, WIDTH = 3, 8
SAMPLES, EARLY = 60, 4
STREAMS = ("a sensor at rest", "noise around a mean")
RUNTIMES: dict[str, Callable[..., tuple[Push, int]]] = {
    "native engine": in_engine,
    "ONNX Runtime, our kernels": in_onnxruntime,
}
FACTOR, FLOOR = 2.0, 16 * EPS["float32"]
"""An error grows where the largest of the last half is more than twice that of the first, beyond a few roundings."""


@dataclass(frozen=True)
class Drift:
    """Errors of one model in one runtime, of the largest value of float64.

    frames   how many had gone in at each sample
    errors   by stream: the error at each sample
    """

    model: str
    runtime: str
    frames: list[int]
    errors: dict[str, list[float]]

    def grows(self, stream: str) -> bool:
        errors = self.errors[stream]
        half = len(errors) // 2
        return max(errors[half:]) > max(FACTOR * max(errors[:half]), FLOOR)


@dataclass
class DriftReport:
    """All of one run."""

    machine: str
    results: list[Drift]

    @property
    def passed(self) -> bool:
        return not any(result.grows(stream) for result in self.results for stream in result.errors)

    def write(self, folder: Path) -> None:
        write_pair(folder, "bench-drift", asdict(self), chart(self.results))


def run(
    models: Sequence[StreamModel] = MODELS,
    *,
    frames: int,
    progress: Callable[[str], None],
    after: Callable[[DriftReport, Drift], None],
) -> DriftReport:
    """Every model through every runtime, two streams at once: one at rest, one of noise around a mean."""
    report = DriftReport(description(), [])
    random = np.random.default_rng(0)
    given = random.standard_normal((2, frames, FEATURES)).astype(np.float32) + 1
    given[0] = given[0, :1]
    # as many samples among the first thousands as among all
    places = sorted({*range(EARLY), *(int(n) - 1 for n in np.geomspace(1, frames, SAMPLES)), frames - 1})
    for model in models:
        with TemporaryDirectory(prefix="temport-bench-") as work:
            step = exported(model, Path(work) / "model", FEATURES, WIDTH, batch=2)
            truth = _truth(step.module, model.forgets, given, places)
            for name, opened in RUNTIMES.items():
                progress(f"{model.name}, {name}")
                push, _ = opened(step)
                result = _followed(model.name, name, push, given, places, truth)
                report.results.append(result)
                after(report, result)
    return report


def _truth(module: object, forgets: int | None, given: Array, places: Sequence[int]) -> Array:
    """`[places, 2, outputs]` in float64: of all frames, or of those that are not forgotten."""
    from torch import nn

    assert isinstance(module, nn.Module)
    if forgets is None:
        return exact(module, given)[:, list(places)].swapaxes(0, 1)
    rows = [exact(module, given[:, max(0, n + 1 - forgets) : n + 1])[:, -1] for n in places]
    return np.stack(rows)


def _followed(
    model: str, runtime: str, push: Push, given: Array, places: Sequence[int], truth: Array
) -> Drift:
    wanted = {n: i for i, n in enumerate(places)}
    found = np.empty(truth.shape)
    for n in range(given.shape[1]):
        output = push(given[:, n : n + 1])
        if n in wanted:
            found[wanted[n]] = output
    errors = np.abs(found - truth).max(-1) / np.abs(truth).max()
    by_stream = {stream: errors[:, i].tolist() for i, stream in enumerate(STREAMS)}
    return Drift(model, runtime, [n + 1 for n in places], by_stream)
