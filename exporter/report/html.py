"""report.html: the report as one file that opens offline, fetches nothing and runs no script."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from temport.exporter.parity.result import (
    CHECKS,
    NOT_RUN,
    Bound,
    MaskPicture,
    ParityReport,
    ResultRow,
    RuntimeRow,
)
from temport.exporter.report import streaming
from temport.exporter.report.chart import distribution, strips
from temport.exporter.report.compression import told
from temport.exporter.report.pages import pages
from temport.exporter.report.work import work

TEMPLATE = "report.html.jinja"


def render(report: ParityReport) -> str:
    """The report as HTML. Every string in it is escaped: rows may come from other programs."""
    environment = pages(Path(__file__).parent)
    environment.filters |= {"figure": figure, "picture": picture, "kind": kind}
    charts = [
        (case, output, bound, distribution(rows, bound.allowed, bound.torch_error))
        for case in report.cases
        for output, bound in case.bounds.items()
        if (rows := strips(report, case.name, output))
    ]
    return environment.get_template(TEMPLATE).render(
        report=report,
        work=work(report.flops),
        stream=streaming.told(report.stream, report.flops) if report.stream else [],
        compressed=report.compression and told(report.compression),
        matrix=matrix(report),
        charts=charts,
        operators=operators(report.op_counts),
        NOT_RUN=NOT_RUN,
        CHECKS=CHECKS,
    )


def write_html(report: ParityReport, path: Path) -> None:
    path.write_text(render(report), encoding="utf-8")


@dataclass(frozen=True)
class Cell:
    """One case in one runtime: `share` is the worst error over its bound, None where there is no such number."""

    verdict: str
    share: float | None
    title: str


def matrix(report: ParityReport) -> list[tuple[RuntimeRow, list[Cell]]]:
    """Per check of the file and per runtime one cell per case, in report order."""
    bounds = {case.name: case.bounds for case in report.cases}
    table = []
    for runtime in (*report.checks, *report.runtimes):
        results = {result.case: result for result in runtime.results}
        cells = [
            _cell(results[name], limits) if name in results else Cell(NOT_RUN, None, runtime.reason)
            for name, limits in bounds.items()
        ]
        table.append((runtime, cells))
    return table


def _cell(result: ResultRow, limits: dict[str, Bound]) -> Cell:
    shares, words = [], []
    for name, row in result.outputs.items():
        allowed = limits[name].allowed
        if row.share is not None:
            shares.append(row.share)
        elif row.max_abs is not None and allowed:
            shares.append(row.max_abs / allowed)
        words.append(f"{name}: {row.reason or f'max abs error {figure(row.max_abs)}'}")
    return Cell(result.verdict, max(shares, default=None), "; ".join(words))


def operators(counts: dict[str, dict[str, int]]) -> list[tuple[str, list[int]]]:
    """Operator names with their count per stage, most frequent in the last stage first."""
    names = {name for stage in counts.values() for name in stage}
    rows = [(name, [stage.get(name, 0) for stage in counts.values()]) for name in names]
    return sorted(rows, key=lambda row: (-row[1][-1], row[0]))


def figure(value: float | None) -> str:
    """Three significant digits; a dash where there is no number."""
    if value is None:
        return "–"
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{value:.3g}" if value == 0 or abs(value) < 1e3 else f"{value:.0f}"
    exponent = math.floor(math.log10(abs(value)))
    return f"{value / 10.0**exponent:.2f}e{exponent}" if exponent > -300 else f"{value:.2e}"


def kind(verdict: str) -> str:
    """A verdict as a CSS class."""
    return verdict.replace(" ", "-")


def picture(mask: MaskPicture) -> Markup:
    """The mask's SVG as an image: unlike inline SVG, an image can neither run scripts nor fetch."""
    data = base64.b64encode(mask.svg.encode()).decode()
    return Markup('<img alt="mask {}" src="data:image/svg+xml;base64,{}">').format(mask.name, data)
