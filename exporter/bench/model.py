"""`temport bench model`: our export of every architecture against what a user would run otherwise."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from custom_ops import library_path
from exporter.bench.model_contenders import COMPILED, CONTENDERS, OURS, Workload, absent, make_inputs
from exporter.bench.model_profile import profile
from exporter.bench.ops import machine, peak_flops
from exporter.bench.timing import Timing, interleaved
from exporter.build import build, save
from exporter.declare import declare
from exporter.errors import UserError
from graphs.registry import ARCHITECTURES

DEFAULT_ARCHITECTURES = tuple(name for name in ARCHITECTURES if name != "attention")
"""`attention` is `sliding_window` under another name."""
DEFAULT_SHAPES = ((1, 60), (1, 256), (1, 1024), (32, 60))
"""(batch, length)"""
SETTINGS = {"lightning": ("feature_map=elu1",)}
"""The default feature map divides by sums that can pass through 0: beyond one block no two computations agree
there, and this one costs the same."""
STRAY = 64
"""A contender may be this many times further from float64 than torch eager is; further, and it computes
something else."""


@dataclass(frozen=True)
class Row:
    """One contender; times in seconds, `error` is the largest difference from float64."""

    name: str
    timing: Timing
    error: float


@dataclass(frozen=True)
class ModelResult:
    """One architecture at one batch, length and number of threads.

    flops      useful operations of our exported graph, and of the graph as traced
    floor      seconds that those of the exported graph take at the measured peak; None without the native library
    profile    microseconds by operator of our graph in ONNX Runtime (profiling adds to each node)
    left_out   contender -> why it was not timed
    """

    arch: str
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
    """All results; peak_flops is FLOP/s of one thread, None where the native library is not built."""

    machine: str
    peak_flops: float | None
    results: list[ModelResult] = field(default_factory=list)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """`bench-model.json` and `bench-model.svg` in `folder`."""
        from exporter.bench.model_chart import chart

        folder.mkdir(parents=True, exist_ok=True)
        numbers, picture = folder / "bench-model.json", folder / "bench-model.svg"
        numbers.write_text(json.dumps(asdict(self), indent=1) + "\n")
        picture.write_text(chart(self))
        return numbers, picture


def run(
    architectures: Sequence[str] = DEFAULT_ARCHITECTURES,
    shapes: Sequence[tuple[int, int]] = DEFAULT_SHAPES,
    *,
    threads: Sequence[int] = (1, 2),
    seconds: float = 0.4,
    contenders: Sequence[str] | None = None,
    compile_everywhere: bool = False,
    settings: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> ModelReport:
    """Time every architecture at every (batch, length) and number of threads.

    contenders          only these beside ours; None: all
    seconds             per contender and case, at least five rounds however slow it is
    compile_everywhere  also compile torch's peers for other shapes than the first (about half a minute each)
    settings            architecture options `key=value`; None: those of `SETTINGS`
    Raises UserError for an unknown architecture, option or contender.
    """
    for name in contenders or ():
        if name not in CONTENDERS:
            raise UserError(f"unknown contender {name!r}; known: {', '.join(CONTENDERS)}")
    report = ModelReport(machine(), peak_flops() if library_path() else None)
    for arch in architectures:
        chosen = SETTINGS.get(arch, ()) if settings is None else tuple(settings)
        for shape in shapes:
            compiled = compile_everywhere or shape == shapes[0]
            names = [name for name in CONTENDERS if not contenders or name in (*OURS, *contenders)]
            with tempfile.TemporaryDirectory() as folder:
                case = _Case(arch, shape, chosen, Path(folder), names, compiled)
                for count in threads:
                    progress(f"{arch}, batch {shape[0]}, length {shape[1]}, threads {count}")
                    report.results.append(case.measure(count, seconds, report.peak_flops))
    return report


class _Case:
    """One architecture at one batch and length: exported once, its truth computed once."""

    def __init__(
        self,
        arch: str,
        shape: tuple[int, int],
        settings: Sequence[str],
        folder: Path,
        names: Sequence[str],
        compiled: bool,
    ) -> None:
        self.arch, self.shape, self.names, self.compiled = arch, shape, names, compiled
        declaration, module, _ = declare(arch, settings, batch=str(shape[0]), seq=str(shape[1]))
        self.built = build(module, declaration)
        self.work = Workload(declaration, module, make_inputs(declaration), folder / "ours.onnx", folder)
        save(self.built, self.work.bundled, external_data=False)
        with torch.no_grad():
            wide = (t.double() if t.is_floating_point() else t for t in self.work.tensors)
            self.truth = copy.deepcopy(module).double()(*wide).numpy()
            eager = module(*self.work.tensors).numpy()
        scale = float(np.abs(self.truth).max())
        self.allowed = STRAY * max(self._error(eager), float(np.finfo(np.float32).eps) * scale)

    def measure(self, threads: int, seconds: float, peak: float | None) -> ModelResult:
        torch.set_num_threads(threads)
        calls, errors, left_out = {}, {}, {}
        for name in self.names:
            reason = absent(name)
            if reason is None and name in COMPILED and not self.compiled:
                reason = "not compiled for this shape; --compile-everywhere does"
            if reason is None:
                call = CONTENDERS[name](self.work, threads)
                error = self._error(call())
                if error > self.allowed:
                    reason = f"computes something else: largest difference {error:.2g}"
                else:
                    calls[name], errors[name] = call, error
            if reason is not None:
                left_out[name] = reason
        if not any(name in calls for name in OURS):
            raise UserError(f"our own export was not timed: {left_out[OURS[1]]}")
        timings = interleaved(calls, seconds=seconds)
        rows = [Row(name, timing, errors[name]) for name, timing in timings.items()]
        flops = {stage: sum(by_op.values()) for stage, by_op in self.built.flops.items()}
        return ModelResult(
            self.arch,
            *self.shape,
            threads,
            flops["exported"],
            flops["traced"],
            None if peak is None else flops["exported"] / (peak * threads),
            rows,
            profile(self.work.bundled, self.work.inputs, threads),
            left_out,
        )

    def _error(self, output: np.ndarray) -> float:
        difference = float(np.abs(output - self.truth).max())
        return difference if np.isfinite(difference) else float("inf")
