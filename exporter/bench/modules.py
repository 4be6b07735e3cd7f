"""`temport bench modules`: what an export makes of modules of anybody's, beside a plain export of torch.

Each is exported with its gate; the file with our kernels and the plain file run in ONNX Runtime, in turns; and the
same in float16 is compiled for TensorRT-RTX, which needs no GPU, to see which attention is one kernel there.
"""

from __future__ import annotations

import copy
import json
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from temport.exporter.asked import fields_of, options_in
from temport.exporter.bench.announce import Say, announced
from temport.exporter.bench.contest import Call, contest, largest_difference
from temport.exporter.build import build, save
from temport.exporter.compilers.compile import compile_model
from temport.exporter.compilers.contract import CompileOptions, EngineReport
from temport.exporter.compilers.targets import ready_backend
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.observe import drawn
from temport.exporter.errors import UserError, first_line
from temport.exporter.export import run_export
from temport.exporter.files import write_whole
from temport.exporter.machine import description
from temport.exporter.quiet import quiet
from temport.exporter.request import ExportRequest, declared
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.bound import onnxruntime_call
from temport.exporter.runtimes.subject import Subject
from temport.exporter.terminal import Terminal
from temport.exporter.trace.torch_translations import translations_read_once

TARGET = "tensorrt-rtx"
OURS, PLAIN = "temport", "torch.onnx.export"
STRAY = 1e-3
"""Of the largest number: a file that is farther off than this computes something else."""


@dataclass(frozen=True)
class ModuleRow:
    """One module.

    before, after  nodes of the plain export and of ours; None where there is none
    found, kept    what of its attention was recognised, and what not and why, in the report's words
    parity         runtime -> verdict, of those that ran
    ours, plain    seconds, medians in ONNX Runtime
    engine         what TensorRT-RTX made of it
    left_out       who was not timed, and why
    """

    name: str
    before: int | None
    after: int
    found: tuple[str, ...]
    kept: tuple[str, ...]
    parity: dict[str, str]
    ours: float | None
    plain: float | None
    engine: str
    left_out: dict[str, str]


def read_list(path: Path) -> list[ExportRequest]:
    """The requests of a TOML file: an array of tables `[[module]]`, each with the options of an export."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("module", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is no list of modules: {first_line(error)}") from error
    if not isinstance(tables, list) or not tables:
        raise UserError(f"{path} has no [[module]], a table of the options of one export")
    return [ExportRequest(**fields_of(options_in(table, path))) for table in tables]


def run(source: Path, out: Path, *, threads: int, seconds: float, progress: Say) -> list[ModuleRow]:
    """Every module of a list; `out` (JSON) and the same as Markdown beside it are written after each."""
    rows: list[ModuleRow] = []
    for request in announced([_Named(request) for request in read_list(source)], progress):
        with tempfile.TemporaryDirectory(prefix="temport-modules-") as folder:
            rows.append(_measure(request, Path(folder), threads, seconds))
        about = {"machine": description(), "threads": threads, "modules": [asdict(row) for row in rows]}
        write_whole(out, json.dumps(about, indent=1) + "\n")
        write_whole(out.with_suffix(".md"), markdown(rows, source, description(), threads))
    return rows


@dataclass(frozen=True)
class _Named:
    """A request that calls itself as its file does."""

    request: ExportRequest

    def __str__(self) -> str:
        source = str(self.request.module or self.request.onnx or self.request.arch)
        return Path(source.partition(":")[0]).stem


def _measure(named: _Named, folder: Path, threads: int, seconds: float) -> ModuleRow:
    request = replace(named.request, out=folder / "bundle", batch=named.request.batch or "1")
    declaration, module = declared(request)
    engine = _engine(declaration, module, folder)
    exported = run_export(request, Terminal(quiet=True))
    ours, plain = exported.path / "model.onnx", folder / "plain.onnx"
    timings, left_out = _timed(declaration, module, ours, plain, threads, seconds)
    told = exported.report
    return ModuleRow(
        str(named),
        len(onnx.load(plain).graph.node) if plain.exists() else None,
        len(onnx.load(ours).graph.node),
        _about_attention(told.found),
        _about_attention(told.warnings),
        {row.name: row.verdict for row in told.runtimes if row.verdict != "not run"},
        timings.get(OURS),
        timings.get(PLAIN),
        engine,
        left_out,
    )


def _about_attention(sentences: Sequence[str]) -> tuple[str, ...]:
    return tuple(s for s in sentences if s.startswith(("recognise_attention: ", "read_attention: ")))


def _timed(
    declaration: Declaration, module: nn.Module, ours: Path, plain: Path, threads: int, seconds: float
) -> tuple[dict[str, float], dict[str, str]]:
    tensors = drawn(declaration.inputs, {n: a.opt for n, a in declaration.axes.items()}, declaration.seed)
    feed = {spec.name: t.numpy() for spec, t in zip(declaration.inputs, tensors, strict=True)}
    with torch.no_grad():
        wide = (t.double() if t.is_floating_point() else t for t in tensors)
        truth = _first(copy.deepcopy(module).double()(*wide)).numpy()

    def export() -> Path:
        names = [spec.name for spec in declaration.inputs]
        with quiet(), translations_read_once():
            torch.onnx.export(module, tensors, plain, input_names=names, verbose=False)
        return plain

    files: dict[str, tuple[str, Callable[[], Path]]] = {
        OURS: ("onnxruntime_native", lambda: ours),
        PLAIN: ("onnxruntime_cpu", export),
    }

    def prepare(name: str) -> Call:
        runtime, file = files[name]
        if runtime_named(runtime).unavailable() is not None:
            runtime = "onnxruntime_cpu"
        session: Any = runtime_named(runtime).open(Subject(declaration, file()), threads)
        return onnxruntime_call(session.session, feed)

    rows, left_out = contest(
        files, (OURS,), absent=lambda name: None, prepare=prepare,
        error=lambda output: largest_difference(output, truth),
        allowed=STRAY * max(1.0, float(np.abs(truth).max())), seconds=seconds,
    )  # fmt: skip
    return {row.name: row.timing.median for row in rows}, left_out


def _first(results: Any) -> torch.Tensor:
    """The first output of a module of anybody's."""
    while not isinstance(results, torch.Tensor):
        results = next(iter(results.values() if isinstance(results, dict) else results))
    return results


def _engine(declaration: Declaration, module: nn.Module, folder: Path) -> str:
    try:
        ready_backend(TARGET, CompileOptions())
        half = replace(declaration, precision="float16")
        save(build(module, half), folder / "half.onnx", external_data=False)
        return _told(compile_model(TARGET, folder / "half.onnx", half, folder))
    except UserError as error:
        return f"not built: {first_line(error)}"


def _told(report: EngineReport) -> str:
    """Layers of the engine, and what became of each attention of ours, with the reasons."""
    outcomes = Counter(
        entry["outcome"] + (f" ({entry['why']})" if entry["why"] else "") for entry in report.attention
    )
    attention = ", ".join(f"{count} {what}" for what, count in outcomes.items()) or "no op of ours"
    return f"{len(report.layers)} layers, attention: {attention}"


HEADER = """# Modules of anybody's

`temport bench modules {source}` exports small modules, each at batch 1 and the length that it names, and
puts them beside what `torch.onnx.export` makes of them. Nodes are those of the graph. Times are medians in ONNX Runtime
on {machine}, {threads} thread(s), both files in turns; ours runs with the native kernels. The last column
is what TensorRT-RTX builds of the same in float16; nothing was run on a GPU.

| module | nodes, torch | nodes, ours | attention | parity | torch | ours | of torch's time | TensorRT-RTX |
|---|---|---|---|---|---|---|---|---|
"""


def markdown(rows: Sequence[ModuleRow], source: Path, machine: str, threads: int) -> str:
    """The table as a page."""
    head = HEADER.format(source=source, machine=machine, threads=threads)
    return head + "".join("| " + " | ".join(_cells(row)) + " |\n" for row in rows)


def _cells(row: ModuleRow) -> list[str]:
    attention = [s.partition(") ")[2] for s in (*row.found, *row.kept)]
    verdicts = Counter(row.parity.values())
    return [
        row.name,
        "fails" if row.before is None else str(row.before),
        str(row.after),
        "; ".join(attention) or "none",
        ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()),
        *(f"{t * 1e3:.3f} ms" if t else "" for t in (row.plain, row.ours)),
        f"{row.ours / row.plain:.2f}" if row.ours and row.plain else "",
        row.engine,
    ]
