"""The picture of `temport bench drift`: the error along a stream, a line per runtime and stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from temport.exporter.bench.drift import Drift

WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 90, 70, 40, 34
LEAST, MOST = 1e-9, 1e-4
COLOURS = ("#2471a3", "#1e8449", "#c0392b", "#b9770e")


def chart(results: Sequence[Drift]) -> str:
    """One SVG document: frames and errors on logarithmic axes."""
    panels = [(model, list(found)) for model, found in groupby(results, key=lambda r: r.model)]
    lines = list(dict.fromkeys((r.runtime, stream) for r in results for stream in r.errors))
    parts, top = [_legend(lines)], TOP
    for model, found in panels:
        parts.append(_panel(model, found, lines, top))
        top += HEIGHT + GAP
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" font-family="sans-serif" font-size="11">'
            '<rect width="{0}" height="{1}" fill="white"/>{2}</svg>\n'
        ).format(WIDTH, top, Markup("").join(parts))
    )


def _legend(lines: Sequence[tuple[str, str]]) -> Markup:
    parts = [
        Markup('<text x="{}" y="14" fill="{}">{}</text>').format(
            8 + 186 * i, COLOURS[i % len(COLOURS)], f"{runtime.partition(',')[0]}: {stream}"
        )
        for i, (runtime, stream) in enumerate(lines)
    ]
    return Markup("").join(parts)


def _panel(model: str, results: Sequence[Drift], lines: Sequence[tuple[str, str]], top: float) -> Markup:
    longest = max(result.frames[-1] for result in results)
    right = WIDTH - 20

    def x(frames: int) -> float:
        return LEFT + (right - LEFT) * math.log10(max(frames, 1)) / math.log10(max(longest, 10))

    def y(error: float) -> float:
        share = math.log10(min(max(error, LEAST), MOST) / LEAST) / math.log10(MOST / LEAST)
        return top + HEIGHT * (1 - share)

    parts = [Markup('<text x="8" y="{}" font-weight="bold">{}</text>').format(top - 6, model)]
    for error in (1e-8, 1e-6, 1e-4):
        parts.append(
            Markup('<path d="M{0} {1:.1f}H{2}" stroke="#ddd"/><text x="{3}" y="{4:.1f}" text-anchor="end">{5}</text>')
            .format(LEFT, y(error), right, LEFT - 6, y(error) + 4, f"{error:.0e}")
        )  # fmt: skip
    for power in range(int(math.log10(longest)) + 1):
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                x(10**power), top + HEIGHT + 12, f"{10**power:,}"
            )
        )
    for result in results:
        for stream, errors in result.errors.items():
            colour = COLOURS[lines.index((result.runtime, stream)) % len(COLOURS)]
            points = " ".join(f"{x(n):.1f},{y(e):.1f}" for n, e in zip(result.frames, errors, strict=True))
            parts.append(Markup('<polyline points="{}" fill="none" stroke="{}"/>').format(points, colour))
    return Markup("").join(parts)
