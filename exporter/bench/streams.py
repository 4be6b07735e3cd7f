"""One frame of a stream by every way there is, interleaved in one run: frames per second, bytes of state, error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from temport.exporter.bench.model_chart import panels
from temport.exporter.bench.stream_contenders import CONTENDERS, OURS, WHOLE, Subjected, absent
from temport.exporter.bench.stream_models import MODELS, WINDOW, StreamModel
from temport.exporter.bench.stream_steps import Array, Push, exact, exported
from temport.exporter.bench.timing import Timing, interleaved
from temport.exporter.files import write_pair, write_whole
from temport.exporter.machine import description

FEATURES, WIDTH = 24, 64
WARM = 2 * WINDOW + 7
"""Frames before the one whose error is told: rings are full."""
TOLERANCE = 1e-4
"""Of outputs of order 1. A window forgets what was before it, so its error is told and not judged."""


@dataclass(frozen=True)
class Row:
    """One way: seconds of one frame, bytes of state (None: not known), the largest difference from float64."""

    name: str
    timing: Timing
    state_bytes: int | None
    error: float

    @property
    def frames_per_second(self) -> float:
        return 1 / self.timing.median


@dataclass(frozen=True)
class Result:
    """One model at batch 1 on one thread; left_out says why a way has no time."""

    model: str
    parameters: int
    rows: tuple[Row, ...]
    left_out: dict[str, str]


@dataclass
class StreamsReport:
    """All of one run."""

    machine: str
    results: list[Result]

    def write(self, folder: Path) -> None:
        bars = [(r.model, [(row.name, row.timing.median) for row in r.rows], None) for r in self.results]
        write_pair(folder, "bench-streams", asdict(self), panels(bars))
        write_whole(folder / "bench-streams.md", self.markdown())

    def markdown(self) -> str:
        """A table: for each model and way, frames per second, bytes of state and error."""
        lines = [
            "| model | way | frames/s | of the engine's | bytes of state | error |",
            "|---|---|---|---|---|---|",
        ]
        for result in self.results:
            best = result.rows[0].timing.median
            for row in result.rows:
                state = "" if row.state_bytes is None else f"{row.state_bytes:,}"
                lines.append(
                    f"| {result.model} | {row.name} | {row.frames_per_second:,.0f} | "
                    f"{best / row.timing.median:.2f} | {state} | {row.error:.1e} |"
                )
            lines += [f"| {result.model} | {name} | {why} | | | |" for name, why in result.left_out.items()]
        return "\n".join([*lines, "", self.machine, ""])


def run(
    models: Sequence[StreamModel] = MODELS,
    *,
    seconds: float,
    contenders: Sequence[str] = (),
    progress: Callable[[str], None],
    after: Callable[[StreamsReport, Result], None],
) -> StreamsReport:
    """Measure every model; `contenders` beside ours, all where none are named."""
    names = [n for n in CONTENDERS if not contenders or n in OURS or n in contenders]
    report = StreamsReport(description(), [])
    for model in models:
        progress(model.name)
        with TemporaryDirectory(prefix="temport-bench-") as work:
            result = _measure(model, Path(work), names, seconds)
        report.results.append(result)
        after(report, result)
    return report


def _measure(model: StreamModel, work: Path, names: Sequence[str], seconds: float) -> Result:
    subject = Subjected(exported(model, work / "model", FEATURES, WIDTH), FEATURES)
    frames = np.random.default_rng(0).standard_normal((1, WARM, FEATURES)).astype(np.float32)
    truth = exact(subject.step.module, frames)[0, -1]
    pushes: dict[str, tuple[Push, int | None, float]] = {}
    left_out = {}
    for name in names:
        if reason := absent(name):
            left_out[name] = reason
            continue
        try:
            push, state = CONTENDERS[name](subject)
            for t in range(WARM):
                last = push(frames[:, t : t + 1])
            error = float(np.abs(last.reshape(-1) - truth).max())
        except Exception as failure:
            if name in OURS:
                raise
            left_out[name] = f"fails: {next(iter(str(failure).splitlines()), type(failure).__name__)}"
            continue
        if error <= TOLERANCE or name in WHOLE:
            pushes[name] = push, state, error
        elif name in OURS:
            raise AssertionError(f"{name} is off by {error:.2g} for {model.name}; its time means nothing")
        else:
            left_out[name] = f"computes something else: largest difference {error:.2g}"
    timings = interleaved(
        {name: _each(push, frames) for name, (push, _, _) in pushes.items()}, seconds=seconds
    )
    rows = tuple(Row(name, timings[name], state, error) for name, (_, state, error) in pushes.items())
    return Result(model.name, sum(p.numel() for p in subject.step.module.parameters()), rows, left_out)


def _each(push: Push, frames: Array) -> Callable[[], object]:
    """The next frame at every call, over and over."""

    def endless() -> Iterator[Array]:
        single = [np.ascontiguousarray(frames[:, t : t + 1]) for t in range(frames.shape[1])]
        while True:
            yield from single

    source = endless()
    return lambda: push(next(source))
