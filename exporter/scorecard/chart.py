"""Pictures of a scorecard: bytes on a log axis, and shares of the bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from temport.exporter.report.chart import BOTTOM, LABEL, RIGHT, ROW, TOP, WIDTH
from temport.exporter.scorecard.card import Row
from temport.exporter.scorecard.figures import amount

KINDS = ("model", "libraries", "memory")
"""Fields of a row that are bytes; each has its colour by the class of its name."""
STEP = 1024.0
DRAWN = 1.2
"""Shares above this are drawn as long as this."""


def sizes(rows: Sequence[Row]) -> Markup:
    """A dot per kind of bytes and runtime."""
    known = {row.name: {kind: getattr(row, kind) for kind in KINDS if getattr(row, kind)} for row in rows}
    known = {name: found for name, found in known.items() if found}
    if not known:
        return Markup("")
    values = [value for found in known.values() for value in found.values()]
    low = math.floor(math.log(min(values), STEP) * 2) / 2
    high = max(math.ceil(math.log(max(values), STEP) * 2) / 2, low + 0.5)

    def x(value: float) -> float:
        return round(LABEL + (math.log(value, STEP) - low) / (high - low) * (WIDTH - LABEL - RIGHT), 1)

    ticks = {
        amount(STEP ** (low + i / 2)): x(STEP ** (low + i / 2)) for i in range(round(2 * (high - low)) + 1)
    }
    parts = []
    for i, (name, found) in enumerate(known.items()):
        y = TOP + ROW * i + ROW // 2
        parts.append(_name(name, y))
        for kind, value in found.items():
            dot = Markup('<circle class="{}" cx="{}" cy="{}" r="4.5"><title>{} {}</title></circle>')
            parts.append(dot.format(kind, x(value), y, kind, amount(value)))
    legend = Markup("").join(
        Markup(
            '<circle class="{0}" cx="{1}" cy="8" r="4.5"/><text class="key" x="{2}" y="12">{0}</text>'
        ).format(kind, LABEL + 100 * i, LABEL + 100 * i + 9)
        for i, kind in enumerate(KINDS)
    )
    return _document("bytes by runtime", len(known), ticks, [*parts, legend])


def shares(rows: Sequence[Row]) -> Markup:
    """A bar per runtime: its worst error as a share of its bound; the line is the bound."""
    known = [(row, row.share) for row in rows if row.share is not None]
    if not known:
        return Markup("")
    unit = (WIDTH - LABEL - RIGHT) / DRAWN
    parts = []
    for i, (row, share) in enumerate(known):
        y = TOP + ROW * i + ROW // 2
        parts.append(_name(row.name, y))
        bar = Markup('<g class="{}"><rect class="box" x="{}" y="{}" width="{:.1f}" height="12" rx="2"/></g>')
        parts.append(
            bar.format(row.verdict.replace(" ", "-"), LABEL, y - 6, max(1.0, min(share, DRAWN) * unit))
        )
    height = TOP + ROW * len(known) + BOTTOM
    line = Markup('<line class="bound" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>')
    parts.append(line.format(round(LABEL + unit, 1), TOP - 10, height - BOTTOM + 4))
    ticks = {f"{percent} %": LABEL + percent / 100 * unit for percent in (0, 25, 50, 75, 100)}
    return _document("worst error by runtime", len(known), ticks, parts)


def _name(name: str, y: float) -> Markup:
    return Markup('<text class="name" x="{}" y="{}">{}</text>').format(LABEL - 10, y + 4, name)


def _document(label: str, count: int, ticks: Mapping[str, float], parts: Sequence[Markup]) -> Markup:
    height = TOP + ROW * count + BOTTOM
    grid = Markup("").join(
        Markup(
            '<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
            '<text class="tick" x="{0:.1f}" y="{3}">{4}</text>'
        ).format(x, TOP - 6, height - BOTTOM + 4, height - 8, tick)
        for tick, x in ticks.items()
    )
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        WIDTH, height, label, grid, Markup("").join(parts)
    )
