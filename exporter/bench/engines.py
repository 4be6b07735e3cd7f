"""`temport bench engines`: what TensorRT makes of every architecture, as a table.

Nothing is run, so no GPU is needed for tensorrt-rtx. Build times are those of this machine in this moment.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from temport.exporter.build import build, save
from temport.exporter.compilers.compile import compile_model
from temport.exporter.compilers.contract import EngineReport
from temport.exporter.compress.uniform import in_one_type
from temport.exporter.compress.wish import Wish, declared_so
from temport.exporter.declare.architectures import architecture, declare
from temport.exporter.declare.declaration import DYNAMIC_BATCH, DYNAMIC_SEQ, PRECISIONS, Axis
from temport.exporter.errors import UserError
from temport.exporter.files import write_whole
from temport.exporter.graph.quantised import FLOAT32, WIDER
from temport.exporter.streaming.declare import declare_stream
from temport.graphs.registry import ARCHITECTURES

BATCHES = ("1", "dynamic")
KINDS = (FLOAT32, *reversed(WIDER))


@dataclass(frozen=True)
class EngineCase:
    """One engine: an architecture with the options of its usage example; `streaming` compiles its step model.

    weights  the type that they are stored in, of a float32 model
    """

    arch: str
    seq: int
    precision: str
    batch: str
    streaming: bool = False
    weights: str = FLOAT32


@dataclass(frozen=True)
class EngineRow:
    """`refusal` is the sentence in place of an engine; the numbers are 0 then.

    fused, decomposed  attention nodes that became one kernel, or several
    mask_bytes         of the baked masks in the engine
    constants          element type -> bytes in the engine
    """

    case: EngineCase
    refusal: str = ""
    layers: int = 0
    fused: int = 0
    decomposed: int = 0
    mask_bytes: int = 0
    seconds: float = 0.0
    mebibytes: float = 0.0
    constants: dict[str, int] = field(default_factory=dict)


def plan(
    arches: Sequence[str] = (),
    lengths: Sequence[int] = (60, 512),
    precisions: Sequence[str] = ("fp32", "fp16"),
    batches: Sequence[str] = BATCHES,
    streaming: bool = False,
    weights: Sequence[str] = (),
) -> list[EngineCase]:
    """Every combination; step models are float32 and their length is the horizon of the stream.

    weights  types that they are stored in, of float32 models: those alone, where some are named

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
    if unknown := [kind for kind in weights if kind not in KINDS]:
        raise UserError(f"--weights-dtype {unknown[0]} is unknown; give {', '.join(KINDS)}")
    if streaming or weights:
        precisions = ("fp32",)
    product = itertools.product(
        arches or tuple(ARCHITECTURES), lengths, precisions, batches, (streaming,), weights or (FLOAT32,)
    )
    return [EngineCase(*values) for values in product]


def measure(case: EngineCase, target: str) -> EngineRow:
    """Export and compile `case`; what is refused is a row with its reason."""
    try:
        declaration, module, _ = declare(case.arch, [], batch=case.batch, seq=str(case.seq))
        declaration = replace(declaration, precision=PRECISIONS[case.precision])
        if case.streaming:
            declaration = declare_stream(declaration, module)
        if case.weights != FLOAT32:
            declaration = declared_so(declaration, Wish(case.weights), None)
            module = in_one_type(module, declaration, case.weights)
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
        constants=report.constants,
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


_SHOWN = 10_000
"""Bytes of constants that are worth a word."""
HEADER = (
    "| architecture | seq | precision | batch | layers | attention | masks, bytes | constants, MB | build, s | MiB |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def _cells(row: EngineRow) -> Iterator[str]:
    case = row.case
    yield f"{case.arch}, step model" if case.streaming else case.arch
    precision = case.precision if case.weights == FLOAT32 else f"{case.precision}, weights {case.weights}"
    yield from (str(case.seq), precision, case.batch)
    if row.refusal:
        yield from ("", f"refused: {row.refusal}", "", "", "", "")
        return
    counts = ((row.fused, "fused"), (row.decomposed, "decomposed"))
    yield str(row.layers)
    yield ", ".join(f"{count} {what}" for count, what in counts if count) or "none"
    held = sorted(row.constants.items(), key=lambda constant: -constant[1])
    large = [f"{size / 1e6:.2f} {kind}" for kind, size in held if size >= _SHOWN]
    yield from (str(row.mask_bytes), ", ".join(large), f"{row.seconds:.1f}", f"{row.mebibytes:.2f}")
