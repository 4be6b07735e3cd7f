"""`temport bench weights`: what weights in fewer bits give, and what others make of the same weights."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from temport.exporter.bench.announce import announced
from temport.exporter.bench.contest import Call
from temport.exporter.bench.machine import peak_flops
from temport.exporter.bench.model_chart import Panel, panels
from temport.exporter.bench.model_stream import last_frame
from temport.exporter.bench.tables import Output, milliseconds, quartiles, table
from temport.exporter.bench.timing import Timing, interleaved
from temport.exporter.bench.weights_contenders import CONTENDERS, ROUNDED, Contender, Files
from temport.exporter.build import rewrite, save, traced_source
from temport.exporter.compress.activations import calibrated, dense_layers, with_rounded_inputs
from temport.exporter.compress.compressed import compressed
from temport.exporter.compress.sums import sums
from temport.exporter.compress.uniform import in_one_type
from temport.exporter.compress.wish import FIRST_OPSET
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import BEFORE, DIALECTS, Declaration
from temport.exporter.errors import UserError
from temport.exporter.files import write_whole
from temport.exporter.graph.quantised import FLOAT32, FP8, INT8, WIDER
from temport.exporter.native.isa import host_isa, isa_named
from temport.exporter.parity.trial import Trial, cases_for
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.torch_eager import FLOAT64
from temport.exporter.streaming.declare import declare_stream

KINDS = (FLOAT32, *(kind for kind in reversed(WIDER) if kind != FP8), ROUNDED)
"""Of which each is made that a contender takes."""


@dataclass(frozen=True)
class Row:
    """A contender's time in seconds, its largest error against what its file says, as a share of the largest value, and
    the size of its file in bytes.
    """

    name: str
    timing: Timing
    error: float
    bytes: int


def run(
    arches: Sequence[str],
    settings: Sequence[str],
    seq: int,
    seconds: float,
    out: Path | None,
    output: Output,
    engine_isa: str | None = None,
) -> dict[str, list[Row]]:
    """Rows by what was measured; tables as soon as they are known, all of them in `out` as JSON, and beside it as a
    picture.

    engine_isa  of native engines; None: the fastest here

    UserError for an instruction set that there is not, or that this processor does not have.
    """
    isa = host_isa(integers=True) if engine_isa is None else isa_named(engine_isa)
    if not isa.runs_here():
        raise UserError(f"--engine-isa {isa.name} is timed where the processor has it; this one does not")
    found: dict[str, list[Row]] = {}
    steps = [(arch, streaming) for arch in arches for streaming in (True, False)]
    names = {f"{arch}, {'one frame' if s else f'window of {seq}'}": (arch, s) for arch, s in steps}
    for name in announced(list(names), output.say):
        with tempfile.TemporaryDirectory(prefix="temport-weights-") as folder:
            found[name] = _measure(*names[name], settings, seq, seconds, Path(folder), isa.name, output)
        output.print(
            table(
                f"{name}, one thread, engines for {isa.name}",
                found[name],
                _columns(found[name][0].timing.median),
            )
        )
        if out is not None:
            numbers = {
                "peak_flops": peak_flops(),
                "tables": {name: [asdict(row) for row in rows] for name, rows in found.items()},
            }
            write_whole(out, json.dumps(numbers, indent=1) + "\n")
            write_whole(out.with_suffix(".svg"), panels([_panel(*found_one) for found_one in found.items()]))
    return found


def _panel(name: str, rows: Sequence[Row]) -> Panel:
    short = {
        row.name: row.name.replace("ours", "temport")
        .replace("engine", "native engine")
        .replace("accuracy level", "level")
        for row in rows
    }
    return f"{name}, one thread", [(short[row.name], row.timing.median) for row in rows], None


def _columns(base: float) -> dict[str, Callable[[Row], str]]:
    return {
        "who": lambda row: row.name,
        "median": lambda row: milliseconds(row.timing.median),
        "of the first": lambda row: f"{row.timing.median / base:.2f}",
        "quartiles": lambda row: quartiles(row.timing),
        "error": lambda row: f"{row.error:.1e}",
        "file, MB": lambda row: f"{row.bytes / 1e6:.2f}",
    }


def _measure(
    arch: str,
    streaming: bool,
    settings: Sequence[str],
    seq: int,
    seconds: float,
    folder: Path,
    isa: str,
    output: Output,
) -> list[Row]:
    declaration, module, _ = declare(arch, settings, seq=str(seq), opset=FIRST_OPSET)
    if streaming:
        declaration = declare_stream(declaration, module)
    feed, truths, paths, declarations = _feed(declaration), {}, {}, {}
    asked = {contender.kind for contender in CONTENDERS}
    for kind in (kind for kind in KINDS if kind in asked):
        stored, scales = _stored(module, declaration, kind)
        truths[kind] = _truth(stored, declaration, feed)
        own = replace(declaration, weights_dtype=INT8 if kind == ROUNDED else kind, input_scales=scales)
        declarations[kind] = own
        traced = traced_source(stored, own)
        for ops in DIALECTS:
            paths[kind, ops] = folder / f"{kind}-{ops}.onnx"
            built = rewrite(traced, replace(own, ops=ops))
            save(built, paths[kind, ops], external_data=False)
    files = Files(paths, declarations, folder, feed, isa)
    calls: dict[str, Call] = {}
    errors: dict[str, float] = {}
    for contender in CONTENDERS:
        try:
            call = contender.prepare(files)
            got = call().copy()
        except Exception as error:  # a peer may not take the file
            output.say(f"{contender.name} fails: {next(iter(str(error).splitlines()), type(error).__name__)}")
            continue
        truth = truths[contender.kind]
        calls[contender.name] = call
        errors[contender.name] = float(np.abs(got - truth).max() / np.abs(truth).max())
    timings = interleaved(calls, seconds=seconds)
    by_name: dict[str, Contender] = {contender.name: contender for contender in CONTENDERS}
    return [
        Row(name, timing, errors[name], by_name[name].file(files).stat().st_size)
        for name, timing in timings.items()
    ]


def _stored(module: nn.Module, declaration: Declaration, kind: str) -> tuple[nn.Module, dict[str, float]]:
    """The module with its weights as they are stored, and the scales of the layers that round what they take: fitted to
    the first of the generated cases, noise.
    """
    if kind != ROUNDED:
        return in_one_type(module, declaration, kind), {}
    source = Trial.of(declaration, Path(), module).source
    noise = cases_for(declaration)[0]
    axes = sums(source, noise.inputs)
    scales = calibrated(source, [noise], list(dense_layers(module, list(axes), INT8)), INT8)
    return with_rounded_inputs(compressed(module, axes, dict.fromkeys(axes, INT8)), scales, INT8), scales


def _feed(declaration: Declaration) -> Arrays:
    """Noise; a stream begins."""
    rng = np.random.default_rng(0)
    return {
        spec.name: np.zeros(spec.at(), spec.dtype)
        if spec.name.startswith(BEFORE)
        else rng.standard_normal(spec.at()).astype(spec.dtype)
        for spec in declaration.inputs
    }


def _truth(module: nn.Module, declaration: Declaration, feed: Arrays) -> npt.NDArray[Any]:
    if declaration.streaming:
        return last_frame(module, declaration, feed[declaration.inputs[0].name])
    with FLOAT64.open(Subject(declaration, Path(), module)) as session:
        return session.run(feed)[declaration.outputs[0].name]
