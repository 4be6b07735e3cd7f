"""`temport bench engines`: what TensorRT makes of every architecture, as a table.

Nothing is run, so no GPU is needed for tensorrt-rtx. Build times are those of this machine in this moment.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from temport.exporter.bench.files import write_whole
from temport.exporter.build import build, save
from temport.exporter.compilers.compile import compile_model
from temport.exporter.compilers.contract import EngineReport
from temport.exporter.declare.architectures import architecture, declare
from temport.exporter.declare.declaration import DYNAMIC_BATCH, DYNAMIC_SEQ, PRECISIONS, Axis
from temport.exporter.errors import UserError
from temport.exporter.streaming.declare import declare_stream
from temport.graphs.registry import ARCHITECTURES

BATCHES = ("1", "dynamic")


@dataclass(frozen=True)
class EngineCase:
    """One engine: an architecture with the options of its usage example; `streaming` compiles its step model."""

    arch: str
    seq: int
    precision: str
    batch: str
    streaming: bool = False


@dataclass(frozen=True)
class EngineRow:
    """`refusal` is the sentence in place of an engine; the numbers are 0 then.

    fused, decomposed  attention nodes that became one kernel, or several
    mask_bytes         of the baked masks in the engine
    """

    case: EngineCase
    refusal: str = ""
    layers: int = 0
    fused: int = 0
    decomposed: int = 0
    mask_bytes: int = 0
    seconds: float = 0.0
    mebibytes: float = 0.0


def plan(
    arches: Sequence[str] = (),
    lengths: Sequence[int] = (60, 512),
    precisions: Sequence[str] = ("fp32", "fp16"),
    batches: Sequence[str] = BATCHES,
    streaming: bool = False,
) -> list[EngineCase]:
    """Every combination; step models are float32 and their length is the horizon of the stream.

    UserError for what no engine could be asked for, before the first one is built.
    """
    for arch in arches:
        architecture(arch)
    for length in lengths:
        Axis.parse("seq", str(length), DYNAMIC_SEQ)
    for batch in batches:
        Axis.parse("batch", batch, DYNAMIC_BATCH)
    if unknown := [name for name in precisions if name not in PRECISIONS]:
        raise UserError(f"--precision {unknown[0]} is unknown; give {', '.join(PRECISIONS)}")
    if streaming:
        precisions = ("fp32",)
    product = itertools.product(arches or tuple(ARCHITECTURES), lengths, precisions, batches)
    return [EngineCase(*values, streaming=streaming) for values in product]


def measure(case: EngineCase, target: str) -> EngineRow:
    """Export and compile `case`; what is refused is a row with its reason."""
    try:
        declaration, module, _ = declare(case.arch, [], batch=case.batch, seq=str(case.seq))
        declaration = replace(declaration, precision=PRECISIONS[case.precision])
        if case.streaming:
            declaration = declare_stream(declaration, module)
        with tempfile.TemporaryDirectory(prefix="temport-engines-") as directory:
            path = Path(directory) / "model.onnx"
            save(build(module, declaration), path, external_data=False)
            report = compile_model(target, path, declaration, Path(directory))
    except UserError as error:
        return EngineRow(case, refusal=str(error))
    return _row(case, report)


def _row(case: EngineCase, report: EngineReport) -> EngineRow:
    return EngineRow(
        case,
        layers=len(report.layers),
        fused=report.fused,
        decomposed=len(report.attention) - report.fused - report.ours,
        mask_bytes=sum(int(mask["bytes"]) for mask in report.masks),
        seconds=report.build_seconds,
        mebibytes=round(report.bytes / 2**20, 2),
    )


def run(
    cases: Sequence[EngineCase], target: str, out: Path | None = None, say: Callable[[str], None] = print
) -> list[EngineRow]:
    """Measure all, saying each line of a Markdown table as soon as it is known; `out` has them as JSON, after every
    engine."""
    rows = []
    for line in HEADER:
        say(line)
    for case in cases:
        rows.append(measure(case, target))
        say("| " + " | ".join(_cells(rows[-1])) + " |")
        if out is not None:
            table = {"target": target, "engines": [asdict(row) for row in rows]}
            write_whole(out, json.dumps(table, indent=1) + "\n")
    return rows


HEADER = (
    "| architecture | seq | precision | batch | layers | attention | masks, bytes | build, s | MiB |",
    "|---|---|---|---|---|---|---|---|---|",
)


def _cells(row: EngineRow) -> Iterator[str]:
    case = row.case
    yield f"{case.arch}, step model" if case.streaming else case.arch
    yield from (str(case.seq), case.precision, case.batch)
    if row.refusal:
        yield from ("", f"refused: {row.refusal}", "", "", "")
        return
    counts = ((row.fused, "fused"), (row.decomposed, "decomposed"))
    yield str(row.layers)
    yield ", ".join(f"{count} {what}" for count, what in counts if count) or "none"
    yield from (str(row.mask_bytes), f"{row.seconds:.1f}", f"{row.mebibytes:.2f}")
