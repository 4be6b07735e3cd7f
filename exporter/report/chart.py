"""Error distributions as inline SVG: one row per runtime, a log axis, the bound drawn as a line."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup, escape

from temport.exporter.parity.result import ParityReport

WIDTH, LABEL, ROW, TOP, BOTTOM = 640, 150, 24, 26, 30
RIGHT = 46
Scale = Callable[[float], float]
"""An error as its horizontal place."""


@dataclass(frozen=True)
class Strip:
    """One runtime's |error| quantiles (5, 25, 50, 75, 95, 100 %) in one case."""

    runtime: str
    verdict: str
    quantiles: tuple[float, ...]


def strips(report: ParityReport, case: str, output: str) -> list[Strip]:
    """The measured runtimes of one case, in report order."""
    found = []
    for runtime in report.runtimes:
        for result in runtime.results:
            row = result.outputs.get(output) if result.case == case else None
            if row is not None and row.quantiles:
                found.append(Strip(runtime.name, row.verdict, row.quantiles))
    return found


def distribution(
    rows: list[Strip],
    allowed: float | None = None,
    torch_error: float | None = None,
    *,
    of: str = "error",
    shown: Callable[[float], str] = lambda value: f"1e{round(math.log10(value))}",
) -> Markup:
    """Box (25 to 75 %), whisker (5 % to the maximum) and median per runtime; red: bound, dotted: the source's error.

    of     what is drawn, in a word
    shown  how the axis writes a power of ten
    """
    low, high = _decades([*(q for r in rows for q in r.quantiles), allowed or 0.0, torch_error or 0.0])

    def x(value: float) -> float:
        exponent = math.log10(value) if value > 0 else low
        share = (min(max(exponent, low), high) - low) / (high - low)
        return round(LABEL + share * (WIDTH - LABEL - RIGHT), 1)

    height = TOP + ROW * len(rows) + BOTTOM
    parts = [_grid(low, high, x, height, shown)]
    parts += [_strip(row, TOP + ROW * i + ROW // 2, x) for i, row in enumerate(rows)]
    parts += [_line(x(torch_error), height, "torch", "source")] if torch_error else []
    parts += [_line(x(allowed), height, "bound", "bound")] if allowed else []
    body = Markup("").join(parts)
    return Markup(
        '<svg class="chart" viewBox="0 0 {0} {1}" role="img" aria-label="{3} distribution">{2}</svg>'
    ).format(WIDTH, height, body, of)


def _decades(values: list[float]) -> tuple[int, int]:
    """Whole decades around all values that are not 0; at most 12, so that one tiny value cannot flatten all."""
    exponents = [math.log10(v) for v in values if v > 0] or [-8.0]
    high = math.ceil(max(exponents) + 0.05)
    return max(math.floor(min(exponents)), high - 12, -320), high


def _grid(low: int, high: int, x: Scale, height: int, shown: Callable[[float], str]) -> Markup:
    step = max(1, (high - low) // 6)
    return Markup("").join(
        Markup(
            '<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
            '<text class="tick" x="{0}" y="{3}">{4}</text>'
        ).format(x(10.0**decade), TOP - 6, height - BOTTOM + 4, height - 8, shown(10.0**decade))
        for decade in range(low, high + 1, step)
    )


def _strip(row: Strip, y: int, x: Scale) -> Markup:
    q5, q25, q50, q75, _, q100 = (x(q) for q in row.quantiles)
    return Markup(
        '<text class="name" x="{label}" y="{text}">{name}</text>'
        '<g class="{kind}"><line class="whisker" x1="{q5}" x2="{q100}" y1="{y}" y2="{y}"/>'
        '<rect class="box" x="{q25}" y="{top}" width="{width}" height="12" rx="2"/>'
        '<line class="median" x1="{q50}" x2="{q50}" y1="{top}" y2="{bottom}"/>'
        '<circle class="max" cx="{q100}" cy="{y}" r="3.2"/></g>'
    ).format(
        label=LABEL - 10,
        text=y + 4,
        name=row.runtime,
        kind=escape(row.verdict.replace(" ", "-")),
        q5=q5,
        q25=q25,
        q50=q50,
        q100=q100,
        width=round(max(q75 - q25, 1.0), 1),
        y=y,
        top=y - 6,
        bottom=y + 6,
    )


def _line(x: float, height: int, kind: str, label: str) -> Markup:
    return Markup(
        '<line class="{kind}" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>'
        '<text class="mark {kind}" x="{x}" y="12">{label}</text>'
    ).format(kind=kind, x=x, top=TOP - 10, bottom=height - BOTTOM + 4, label=label)
