"""The picture of `temport bench model`: per case, the time of every contender as a multiple of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from temport.exporter.bench.model_stream import WINDOW, StreamResult
from temport.exporter.bench.tables import milliseconds

if TYPE_CHECKING:
    from temport.exporter.bench.model import ModelReport, ModelResult

WIDTH, LEFT, RIGHT, ROW, GAP = 760, 190, 90, 16, 34
WORST = 8.0
"""Bars longer than this many times ours are cut there; the number beside them is not."""
Panel = tuple[str, list[tuple[str, float]], float | None]
"""Title, name and seconds of every bar (ours first), floor in seconds."""
OURS, PEER, FLOOR = "#2471a3", "#b2babb", "#c0392b"


def chart(report: ModelReport) -> str:
    """One SVG document; the red line is the time that the remaining matrix products take at the measured peak, or
    in which a step's weights are read once."""
    return panels([*map(_whole, report.results), *map(_stream, report.streams)])


def panels(shown: Sequence[Panel]) -> str:
    """One SVG document of panels below each other."""
    top, parts = GAP, []
    for title, bars, floor in shown:
        parts.append(_panel(title, bars, floor, top))
        top += ROW * len(bars) + GAP
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" font-family="sans-serif" font-size="11">'
            '<rect width="{0}" height="{1}" fill="white"/>{2}</svg>\n'
        ).format(WIDTH, top, Markup("").join(parts))
    )


def _whole(result: ModelResult) -> Panel:
    title = f"{result.arch}, batch {result.batch}, length {result.length}, threads {result.threads}"
    ours = sorted(result.rows, key=lambda row: row is not result.ours)
    return title, [(row.name, row.timing.median) for row in ours], result.floor


def _stream(result: StreamResult) -> Panel:
    bars = [("one frame", result.step.median), (f"window of {WINDOW}", result.window.median)]
    return f"{result.arch}, frame by frame, threads {result.threads}", bars, result.floor


def _panel(title: str, bars: list[tuple[str, float]], floor: float | None, top: float) -> Markup:
    """Bars as multiples of the first one."""
    ours = bars[0][1]
    longest = min(WORST, max(seconds for _, seconds in bars) / ours)
    unit = (WIDTH - LEFT - RIGHT) / longest
    parts = [Markup('<text x="8" y="{}" font-weight="bold">{}</text>').format(top - 6, title)]
    for i, (name, seconds) in enumerate(bars):
        y, length = top + ROW * i, min(seconds / ours, longest) * unit
        colour = PEER if i and not name.startswith("temport") else OURS
        parts.append(
            Markup(
                '<text x="{}" y="{}" text-anchor="end">{}</text>'
                '<rect x="{}" y="{}" width="{:.1f}" height="{}" fill="{}"/>'
                '<text x="{:.1f}" y="{}">{} ({:.2f}x)</text>'
            ).format(
                *(LEFT - 6, y + 11, name),
                *(LEFT, y + 2, length, ROW - 4, colour),
                *(LEFT + length + 4, y + 11, milliseconds(seconds), seconds / ours),
            )
        )
    if floor is not None:
        x = LEFT + floor / ours * unit
        line = Markup('<path d="M{0:.1f} {1}V{2}" stroke="{3}"/>')
        parts.append(line.format(x, top, top + ROW * len(bars), FLOOR))
    return Markup("").join(parts)
