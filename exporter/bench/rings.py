"""`temport bench rings`: one frame of a stream with long rings, which hold float32 or float16."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from temport.exporter.bench.contest import Call
from temport.exporter.bench.model_stream import last_frame
from temport.exporter.bench.stream_steps import Exported, in_engine, in_onnxruntime
from temport.exporter.bench.tables import Output, milliseconds, quartiles, table
from temport.exporter.bench.timing import Timing, interleaved
from temport.exporter.build import build, save
from temport.exporter.compilers.targets import REPORT_FILE, enter
from temport.exporter.declare.architectures import declare
from temport.exporter.native.engine import NativeOptions, build_native
from temport.exporter.streaming.declare import declare_stream
from temport.exporter.streaming.half_rings import FLOAT32, HALF

WHERE = {"native engine": in_engine, "ONNX Runtime, our kernels": in_onnxruntime}
BEYOND = 40
"""Frames behind those that fill the longest ring."""


@dataclass(frozen=True)
class Row:
    """A frame in seconds, the bytes of a stream's state as the runtime holds it, and the largest error of a frame with
    full rings against what the file says, as a share of the largest value.
    """

    where: str
    rings: str
    timing: Timing
    bytes: int
    error: float


def run(arch: str, settings: Sequence[str], seq: int, seconds: float, output: Output) -> list[Row]:
    """Rows of both kinds of rings in each runtime, timed in turns on one thread; printed as a table."""
    calls: dict[str, Call] = {}
    told: dict[str, tuple[str, str, int, float]] = {}
    with tempfile.TemporaryDirectory(prefix="temport-rings-") as folder:
        for kind in (FLOAT32, HALF):
            step = _exported(arch, settings, seq, kind, Path(folder) / kind)
            spec, kept = step.declaration.inputs[0], step.declaration.sequences
            assert kept is not None
            frames = np.random.default_rng(0).standard_normal((kept.kept + BEYOND, *spec.at()), np.float32)
            truth = last_frame(step.module, step.declaration, np.concatenate(list(frames), axis=1))
            for where, opened in WHERE.items():
                push, state = opened(step)
                for frame in frames:
                    got = push(frame)
                error = float(np.abs(got - truth).max() / np.abs(truth).max())
                calls[f"{where} {kind}"] = partial(push, frames[-1])
                told[f"{where} {kind}"] = (where, kind, state, error)
        timings = interleaved(calls, seconds=seconds)
    rows = [
        Row(where, kind, timings[name], state, error) for name, (where, kind, state, error) in told.items()
    ]
    rows.sort(key=lambda row: row.where)
    base = {row.where: row.timing.median for row in rows if row.rings == FLOAT32}
    columns = {
        "where": lambda row: row.where,
        "rings": lambda row: row.rings,
        "one frame, median": lambda row: milliseconds(row.timing.median),
        "of float32": lambda row: f"{row.timing.median / base[row.where]:.2f}",
        "quartiles": lambda row: quartiles(row.timing),
        "state, KB": lambda row: f"{row.bytes / 1e3:.0f}",
        "error": lambda row: f"{row.error:.1e}",
    }
    output.print(table(f"{arch}, one frame with full rings, one thread", rows, columns))
    return rows


def _exported(arch: str, settings: Sequence[str], seq: int, kind: str, folder: Path) -> Exported:
    folder.mkdir()
    declaration, module, _ = declare(arch, settings, seq=str(seq))
    step = declare_stream(replace(declaration, kv_dtype=kind), module)
    save(build(module, step), folder / "model.onnx", external_data=False)
    report = build_native(folder, "bench", step, NativeOptions())
    enter(folder / REPORT_FILE, report.to_json())
    return Exported(step, folder, module)
