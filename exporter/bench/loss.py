"""`temport bench loss`: what weights and rings in fewer bits cost every architecture, in float64, seeded."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from temport.exporter.compress.compress import USUAL, compress
from temport.exporter.compress.rings import rings_alone, with_rings
from temport.exporter.compress.wish import Wish, declared_so
from temport.exporter.declare.architectures import architecture, declare
from temport.exporter.errors import UserError
from temport.exporter.files import write_whole
from temport.exporter.graph.quantised import FP8, WIDER
from temport.exporter.parity.result import Compression
from temport.exporter.parity.trial import cases_for
from temport.exporter.streaming.declare import declare_stream
from temport.exporter.streaming.half_rings import HALF
from temport.graphs.registry import ARCHITECTURES

KINDS = tuple(kind for kind in reversed(WIDER) if kind != FP8)
RINGS = f"keys and values in {HALF}"
"""Of a stream that keeps some, its weights as they were seeded."""


@dataclass(frozen=True)
class LossRow:
    """An architecture whose weights are in one type, or whose rings, against itself as it was seeded.

    largest   the largest error on inputs of kind `normal`, as a share of the output's largest value
    rms       root mean square of the error, as a share of the output's
    agreement the share of rows whose largest entry is the same one
    quarters  of a stream: the largest error in each quarter of it
    """

    arch: str
    streaming: bool
    kind: str
    largest: float
    rms: float
    agreement: float | None
    quarters: tuple[float, ...] = ()


def run(
    arches: Sequence[str], seq: int, out: Path | None = None, say: Callable[[str], None] = print
) -> list[LossRow]:
    """Every architecture as a window and, where it can, as a stream; a line of a Markdown table each.

    UserError for an architecture that there is not, before the first is measured.
    """
    for name in arches:
        architecture(name)
    rows: list[LossRow] = []
    for line in HEADER:
        say(line)
    for arch in arches or tuple(ARCHITECTURES):
        for streaming in (False, True):
            found = _of(arch, seq, streaming)
            rows += found
            if found:
                say(_line(found))
            if out is not None:
                write_whole(out, json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return rows


COLUMNS = (*KINDS, RINGS)
HEADER = (
    f"| model | {' | '.join(f'{kind}: largest, rms' for kind in COLUMNS)} |",
    f"|---|{'---|' * len(COLUMNS)}",
)


def _line(rows: Sequence[LossRow]) -> str:
    found = {row.kind: f"{row.largest:.1e}, {row.rms:.1e}" for row in rows}
    cells = [found.get(kind, "") for kind in COLUMNS]
    return f"| {rows[0].arch}, {'stream' if rows[0].streaming else 'window'} | {' | '.join(cells)} |"


def _of(arch: str, seq: int, streaming: bool) -> list[LossRow]:
    declaration, module, _ = declare(arch, (), seq=str(seq))
    if streaming:
        try:
            declaration = declare_stream(declaration, module)
        except UserError:
            return []
    rows = []
    for kind in KINDS:
        wish = Wish(kind)
        declared = declared_so(declaration, wish, None)
        cases = [case for case in cases_for(declared) if case.kind == USUAL]
        rows.append(_row(arch, streaming, kind, compress(module, declared, cases, 0, wish)[1]))
    return [*rows, *_of_rings(arch, seq)] if streaming else rows


def _of_rings(arch: str, seq: int) -> list[LossRow]:
    declaration, module, _ = declare(arch, (), seq=str(seq))
    try:
        stream = declare_stream(replace(declaration, kv_dtype=HALF), module)
    except UserError:  # it keeps no keys and values
        return []
    cases = [case for case in cases_for(stream) if case.kind == USUAL]
    account, _ = with_rings(rings_alone(cases), module, module, stream, cases)
    return [_row(arch, True, RINGS, account)]


def _row(arch: str, streaming: bool, kind: str, compression: Compression) -> LossRow:
    worst = max(compression.losses, key=lambda loss: loss.largest)
    return LossRow(arch, streaming, kind, worst.largest, worst.rms, worst.agreement, worst.windows)
