"""`temport bench model`: our export of every architecture against what a user would run otherwise."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from temport.exporter.bench.announce import Say, announced
from temport.exporter.bench.contest import Row, contest, largest_difference
from temport.exporter.bench.machine import peak_flops
from temport.exporter.bench.model_contenders import COMPILED, CONTENDERS, OURS, Workload, absent, make_inputs
from temport.exporter.bench.model_profile import profile
from temport.exporter.bench.model_stream import WINDOW, StreamCase, StreamResult
from temport.exporter.build import build, save
from temport.exporter.declare.architectures import declare
from temport.exporter.errors import UserError
from temport.exporter.files import write_pair
from temport.exporter.machine import description
from temport.exporter.runtimes.libraries import ops_library
from temport.graphs.registry import ARCHITECTURES

DEFAULT_ARCHITECTURES = tuple(name for name in ARCHITECTURES if name != "attention")
"""`attention` is `sliding_window` under another name."""
DEFAULT_SHAPES = ((1, 60), (1, 256), (1, 1024), (32, 60))
"""(batch, length)"""
SETTINGS = {"sliding_window": (f"window_size={WINDOW}",), "lightning": ("feature_map=elu1",)}
"""The default feature map of lightning divides by sums that can pass through 0: beyond one block no two
computations agree there, and this one costs the same."""
ALSO_COMPILED = {"sliding_window": ((1, 1024),)}
"""Shapes beside the first at which torch's compiled peers take part: what they can make of a narrow window."""
STRAY = 64
"""A contender may be this many times further from float64 than torch eager is; further, and it computes
something else."""


@dataclass(frozen=True)
class ModelResult:
    """One architecture at one batch, length and number of threads.

    flops      useful operations of our exported graph, and of the graph as traced
    floor      seconds that those of the exported graph take at the measured peak; None without the native library
    profile    microseconds by operator of our graph in ONNX Runtime (profiling adds to each node)
    left_out   contender -> why it was not timed
    """

    arch: str
    settings: tuple[str, ...]
    batch: int
    length: int
    threads: int
    flops: float
    traced_flops: float
    floor: float | None
    rows: list[Row]
    profile: dict[str, float]
    left_out: dict[str, str]

    @property
    def ours(self) -> Row:
        """The first of our two rows that was timed."""
        return next(row for row in self.rows if row.name in OURS)

    @property
    def fastest_peer(self) -> Row | None:
        return min((r for r in self.rows if r.name not in OURS), key=lambda r: r.timing.median, default=None)


@dataclass(frozen=True)
class ModelReport:
    """All results.

    peak_flops     FLOP/s of one thread, None where the native library is not built
    not_streamed   architecture -> why it does not run frame by frame
    """

    machine: str
    peak_flops: float | None
    results: list[ModelResult] = field(default_factory=list)
    streams: list[StreamResult] = field(default_factory=list)
    not_streamed: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """`bench-model.json` and `bench-model.svg` in `folder`."""
        from temport.exporter.bench.model_chart import chart

        return write_pair(folder, "bench-model", asdict(self), chart(self))


@dataclass(frozen=True)
class _Step:
    """What is measured next: whole sequences of a shape, or frame by frame (None)."""

    arch: str
    settings: tuple[str, ...]
    shape: tuple[int, int] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.arch}, frame by frame"
        return f"{self.arch}, batch {self.shape[0]}, length {self.shape[1]}"


After = Callable[[ModelReport, ModelResult | StreamResult], None]


def run(
    architectures: Sequence[str] = DEFAULT_ARCHITECTURES,
    shapes: Sequence[tuple[int, int]] = DEFAULT_SHAPES,
    *,
    threads: Sequence[int] = (1, 2),
    seconds: float = 0.3,
    contenders: Sequence[str] = (),
    compile_everywhere: bool = False,
    settings: Sequence[str] = (),
    streams: bool = True,
    progress: Say = lambda _: None,
    after: After = lambda report, latest: None,
) -> ModelReport:
    """Time every architecture at every (batch, length) and number of threads, and one frame of its stream.

    contenders          only these beside ours; empty: all
    seconds             per contender and case, at least five rounds however slow it is
    compile_everywhere  also compile torch's peers for other shapes than the first (about half a minute each)
    settings            architecture options `key=value`; empty: those of `SETTINGS`
    streams             also time the step of what runs frame by frame
    after               is called with the report so far and what was measured last
    Raises UserError for an unknown architecture, option or contender.
    """
    for name in contenders:
        if name not in CONTENDERS:
            raise UserError(f"unknown contender {name!r}; known: {', '.join(CONTENDERS)}")
    names = [name for name in CONTENDERS if not contenders or name in (*OURS, *contenders)]
    report = ModelReport(description(), peak_flops() if ops_library() else None)
    steps: list[_Step] = []
    for arch in architectures:
        chosen = tuple(settings) or SETTINGS.get(arch, ())
        declare(arch, chosen, seq=str(WINDOW))  # a wrong option is said before anything is timed
        steps += [_Step(arch, chosen, shape) for shape in shapes]
        if streams:
            steps.append(_Step(arch, chosen, None))
    for step in announced(steps, progress):
        with tempfile.TemporaryDirectory() as folder:
            if step.shape is None:
                try:
                    stream = StreamCase(step.arch, step.settings, Path(folder))
                except UserError as error:
                    report.not_streamed[step.arch] = str(error)
                    continue
                for count in threads:
                    report.streams.append(stream.measure(count, seconds))
                    after(report, report.streams[-1])
                continue
            compiled = step.shape in (shapes[0], *ALSO_COMPILED.get(step.arch, ()))
            case = _Case(step, step.shape, Path(folder), names, compiled or compile_everywhere)
            for count in threads:
                report.results.append(case.measure(count, seconds, report.peak_flops))
                after(report, report.results[-1])
    return report


class _Case:
    """One architecture at one batch and length: exported once, its truth computed once."""

    def __init__(
        self, step: _Step, shape: tuple[int, int], folder: Path, names: Sequence[str], compiled: bool
    ) -> None:
        self.step, self.shape, self.names, self.compiled = step, shape, names, compiled
        declaration, module, _ = declare(step.arch, step.settings, batch=str(shape[0]), seq=str(shape[1]))
        self.built = build(module, declaration)
        self.work = Workload(declaration, module, make_inputs(declaration), folder / "ours.onnx", folder)
        save(self.built, self.work.bundled, external_data=False)
        with torch.no_grad():
            wide = (t.double() if t.is_floating_point() else t for t in self.work.tensors)
            self.truth = copy.deepcopy(module).double()(*wide).numpy()
            eager = module(*self.work.tensors).numpy()
        scale = float(np.abs(self.truth).max())
        rounding = float(np.finfo(np.float32).eps) * scale
        self.allowed = STRAY * max(largest_difference(eager, self.truth), rounding)

    def measure(self, threads: int, seconds: float, peak: float | None) -> ModelResult:
        torch.set_num_threads(threads)
        rows, left_out = contest(
            self.names,
            OURS,
            absent=self._absent,
            prepare=lambda name: CONTENDERS[name](self.work, threads),
            error=lambda output: largest_difference(output, self.truth),
            allowed=self.allowed,
            seconds=seconds,
        )
        if all(name in left_out for name in OURS):
            raise UserError(f"our own export was not timed: {left_out[OURS[1]]}")
        flops = {stage: sum((by_op or {}).values()) for stage, by_op in self.built.flops.items()}
        return ModelResult(
            self.step.arch,
            self.step.settings,
            *self.shape,
            threads,
            flops["exported"],
            flops["traced"],
            None if peak is None else flops["exported"] / (peak * threads),
            rows,
            profile(self.work.bundled, self.work.inputs, threads),
            left_out,
        )

    def _absent(self, name: str) -> str | None:
        if name in COMPILED and not self.compiled:
            return "not compiled for this shape; --compile-everywhere does"
        return absent(name)
