"""The picture of `temport bench model`: per case, the time of every contender as a multiple of ours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from exporter.bench.model import ModelReport, ModelResult

WIDTH, LEFT, RIGHT, ROW, GAP = 760, 190, 90, 16, 34
WORST = 8.0
"""Bars longer than this many times ours are cut there; the number beside them is not."""
OURS, PEER, FLOOR = "#2471a3", "#b2babb", "#c0392b"


def chart(report: ModelReport) -> str:
    """One SVG document; the red line is the time that the remaining matrix products take at the measured peak."""
    top, panels = GAP, []
    for result in report.results:
        panels.append(_panel(result, top))
        top += ROW * len(result.rows) + GAP
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" font-family="sans-serif" font-size="11">'
            '<rect width="{0}" height="{1}" fill="white"/>{2}</svg>\n'
        ).format(WIDTH, top, Markup("").join(panels))
    )


def _panel(result: ModelResult, top: float) -> Markup:
    ours = result.ours.timing.median
    longest = min(WORST, max(row.timing.median for row in result.rows) / ours)
    unit = (WIDTH - LEFT - RIGHT) / longest
    title = f"{result.arch}, batch {result.batch}, length {result.length}, threads {result.threads}"
    parts = [Markup('<text x="8" y="{}" font-weight="bold">{}</text>').format(top - 6, title)]
    for i, row in enumerate(result.rows):
        times, y = row.timing.median / ours, top + ROW * i
        parts.append(
            Markup(
                '<text x="{}" y="{}" text-anchor="end">{}</text>'
                '<rect x="{}" y="{}" width="{:.1f}" height="{}" fill="{}"/>'
                '<text x="{:.1f}" y="{}">{} ({:.2f}x)</text>'
            ).format(
                LEFT - 6,
                y + 11,
                row.name,
                LEFT,
                y + 2,
                min(times, longest) * unit,
                ROW - 4,
                OURS if row.name.startswith("temport") else PEER,
                LEFT + min(times, longest) * unit + 4,
                y + 11,
                milliseconds(row.timing.median),
                times,
            )
        )
    if result.floor is not None:
        x = LEFT + result.floor / ours * unit
        line = Markup('<path d="M{0:.1f} {1}V{2}" stroke="{3}"/>')
        parts.append(line.format(x, top, top + ROW * len(result.rows), FLOOR))
    return Markup("").join(parts)


def milliseconds(seconds: float) -> str:
    """Three significant digits: `0.452 ms`, `12.3 ms`, `1240 ms`."""
    value = seconds * 1e3
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f} ms"
