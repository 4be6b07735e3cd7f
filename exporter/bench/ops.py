"""`temport bench ops`: our kernels against every peer on this machine, interleaved, and what memory each needs."""

from __future__ import annotations

import ctypes
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from custom_ops import library_path
from exporter.bench import op_contenders, op_memory
from exporter.bench.op_cases import FAMILIES, OpCase, cases
from exporter.bench.op_contenders import CONTENDERS, OURS, absent, as_rows
from exporter.bench.timing import Timing, interleaved
from exporter.errors import UserError

TOLERANCE = 1e-3
"""Of outputs of order 1: a contender further away computes something else."""
DENSE_LIMIT = 4096
"""Contenders with a length x length table are not timed beyond this length: minutes per sample and gigabytes."""


@dataclass(frozen=True)
class Row:
    """One contender in one case at one number of threads; times in seconds, `share` of the measured peak."""

    name: str
    timing: Timing
    useful_flops_per_second: float
    share: float
    times_slower: float
    error: float


@dataclass(frozen=True)
class CaseResult:
    family: str
    length: int
    threads: int
    rows: list[Row]
    left_out: dict[str, str]


@dataclass(frozen=True)
class OpsReport:
    """peak_flops: FLOP/s of one thread doing only fused multiply-adds; memory: MiB by contender and length."""

    machine: str
    peak_flops: float
    results: list[CaseResult] = field(default_factory=list)
    memory: list[dict[str, Any]] = field(default_factory=list)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """`bench-ops.json` and `bench-ops.svg` in `folder`."""
        from exporter.bench.op_chart import chart

        folder.mkdir(parents=True, exist_ok=True)
        numbers, picture = folder / "bench-ops.json", folder / "bench-ops.svg"
        numbers.write_text(json.dumps(asdict(self), indent=1) + "\n")
        picture.write_text(chart(self))
        return numbers, picture


def peak_flops(trials: int = 200) -> float:
    """FLOP/s of one thread on registers alone, with the vectors that our kernels use here."""
    path = library_path()
    if path is None:
        raise UserError("The native op library is not built; pip install . builds it.")
    library = ctypes.CDLL(str(path))
    library.temport_peak_flops.restype = ctypes.c_double
    return float(library.temport_peak_flops(ctypes.c_int(trials)))


def run(
    families: list[str] | None = None,
    lengths: list[int] | None = None,
    *,
    threads: tuple[int, ...] = (1, 2),
    seconds: float = 4.0,
    contenders: list[str] | None = None,
    memory_length: int | None = 8192,
    progress: Callable[[str], None] = lambda _: None,
) -> OpsReport:
    """Time every chosen case at every number of threads, then the memory growth at `memory_length` (None: not).

    Raises UserError for unknown families, contenders or lengths, and when the library is not built.
    """
    for name in contenders or []:
        if name not in CONTENDERS:
            raise UserError(f"Unknown contender {name!r}; the contenders are {', '.join(CONTENDERS)}.")
    chosen = cases(families or [], lengths or [])
    names = [OURS, *(n for n in contenders or CONTENDERS if n != OURS)]
    report = OpsReport(machine(), peak_flops())
    for count in threads:
        for case in chosen:
            progress(f"{case.family}, length {case.length}, {count} thread{'s' if count > 1 else ''}")
            report.results.append(_measure(case, names, count, seconds, report.peak_flops * count))
    if memory_length is not None:
        for case in cases(families or list(FAMILIES), [memory_length]):
            for name in names:
                if absent(name, case) is None:
                    progress(f"memory: {case.family}, length {memory_length}, {name}")
                    grown = op_memory.growth(name, case)
                    row = {"family": case.family, "length": memory_length, "name": name, "mebibytes": grown}
                    report.memory.append(row)
    return report


def _measure(case: OpCase, names: list[str], threads: int, seconds: float, peak: float) -> CaseResult:
    torch.set_num_threads(threads)
    calls, errors, left_out = {}, {}, {}
    truth = as_rows(case, op_contenders.torch_op(case, threads)())
    for name in names:
        reason = absent(name, case)
        if reason is None and CONTENDERS[name].dense and case.length > DENSE_LIMIT:
            reason = f"holds a length x length table; not timed beyond {DENSE_LIMIT}"
        if reason is None:
            call = CONTENDERS[name].prepare(case, threads)
            error = float(np.abs(as_rows(case, call()) - truth).max())
            if error > TOLERANCE:
                reason = f"computes something else: largest difference {error:.2g}"
            else:
                calls[name], errors[name] = call, error
        if reason is not None:
            left_out[name] = reason
    if OURS not in calls:
        raise UserError(f"{OURS} was not measured: {left_out[OURS]}.")
    timings = interleaved(calls, seconds=seconds)
    ours = timings[OURS].median
    rows = []
    for name, timing in timings.items():
        speed = case.useful_flops / timing.median
        rows.append(Row(name, timing, speed, speed / peak, timing.median / ours, errors[name]))
    return CaseResult(case.family, case.length, threads, rows, left_out)


def machine() -> str:
    """Processor and cores that this process may use."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        model = found[0].split(":", 1)[1].strip() if found else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores"
