"""The picture of `temport bench ops`: share of the machine's peak over sequence length, one panel per case."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from temport.exporter.bench.ops import OpsReport

WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 720, 220, 44, 250, 30, 26
COLOURS = ("#c0392b", "#2471a3", "#1e8449", "#7d3c98", "#b9770e", "#117a65", "#5d6d7e", "#a04000", "#34495e")


def chart(report: OpsReport) -> str:
    """One SVG document; the first number of threads only."""
    threads = min(result.threads for result in report.results)
    families = list(dict.fromkeys(result.family for result in report.results))
    height = PANEL * len(families)
    parts = [_panel(report, family, threads, PANEL * i) for i, family in enumerate(families)]
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" font-family="sans-serif" font-size="11">'
            '<rect width="{0}" height="{1}" fill="white"/>{2}</svg>\n'
        ).format(WIDTH, height, Markup("").join(parts))
    )


def _panel(report: OpsReport, family: str, threads: int, top: int) -> Markup:
    results = [r for r in report.results if r.family == family and r.threads == threads]
    lengths = sorted({r.length for r in results})
    low, high = math.log2(lengths[0]), math.log2(lengths[-1])
    bottom, head = top + PANEL - BOTTOM, top + TOP

    def x(length: int) -> float:
        share = (math.log2(length) - low) / (high - low) if high > low else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(share: float) -> float:
        return round(bottom - min(share, 1.0) * (bottom - head), 1)

    title = Markup('<text x="{}" y="{}" font-weight="bold">{}, {} thread{}: share of peak</text>').format(
        LEFT, top + 16, family, threads, "s" if threads > 1 else ""
    )
    parts = [title]
    for step in range(0, 101, 25):
        line = Markup(
            '<path d="M{0} {2}H{1}" stroke="#ddd"/><text x="{3}" y="{4}" text-anchor="end">{5} %</text>'
        )
        parts.append(line.format(LEFT, WIDTH - RIGHT, y(step / 100), LEFT - 4, y(step / 100) + 4, step))
    parts += [
        Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(x(n), bottom + 16, n)
        for n in lengths
    ]
    names = list(dict.fromkeys(row.name for r in results for row in r.rows))
    for i, name in enumerate(names):
        points = [(x(r.length), y(row.share)) for r in results for row in r.rows if row.name == name]
        parts.append(_curve(name, points, COLOURS[i % len(COLOURS)], head + 15 * i))
    return Markup("").join(parts)


def _curve(name: str, points: list[tuple[float, float]], colour: str, legend: float) -> Markup:
    path = "M" + "L".join(f"{a} {b}" for a, b in points)
    dots = Markup("").join(
        Markup('<circle cx="{}" cy="{}" r="2.5" fill="{}"/>').format(a, b, colour) for a, b in points
    )
    label = Markup('<text x="{}" y="{}" fill="{}">{}</text>').format(WIDTH - RIGHT + 14, legend, colour, name)
    return Markup('<path d="{}" fill="none" stroke="{}"/>{}{}').format(path, colour, dots, label)
