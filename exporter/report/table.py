"""The report on the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from temport.exporter.parity.result import CHECKS, FAIL, ILL, NOT_RUN, PASS, Bound, ParityReport
from temport.exporter.report import streaming
from temport.exporter.report.compression import told
from temport.exporter.report.html import figure, matrix
from temport.exporter.report.work import work
from temport.exporter.terminal import Terminal

STYLE = {PASS: "green", FAIL: "bold red", ILL: "yellow", NOT_RUN: "dim"}
MARK = {PASS: "✓", FAIL: "✗", ILL: "~", NOT_RUN: "·"}


def table(report: ParityReport) -> Group:
    """Runtimes by cases, each cell the worst error as a percentage of its bound, then what needs words."""
    title = f"parity of {report.declaration['arch']}, {report.precision}"
    grid = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    grid.add_column("runtime", no_wrap=True)
    for number, _ in enumerate(report.cases, 1):
        grid.add_column(str(number), justify="right", no_wrap=True)
    grid.add_column("verdict", no_wrap=True)
    for runtime, cells in matrix(report):
        row = [Text(_cell(c.verdict, c.share), STYLE[c.verdict]) for c in cells]
        grid.add_row(runtime.name, *row, Text(runtime.verdict, STYLE[runtime.verdict]))
    parts: list[RenderableType] = [
        grid,
        Text(f"numbers: worst error in % of its bound, {report.formula}", "dim"),
        Text(
            f"{MARK[FAIL]} fails, {MARK[ILL]} the source itself is too far off to judge, {MARK[NOT_RUN]} not run",
            "dim",
        ),
    ]
    parts += [_case(number, case.name, case.bounds) for number, case in enumerate(report.cases, 1)]
    parts += [
        Text(f"{r.name} not run: {r.reason}", "dim")
        for r in report.runtimes
        if r.verdict == NOT_RUN and not r.unjudged
    ]
    parts += [Text(f"{r.name}: {CHECKS.get(r.name, r.path)}", "dim") for r in report.checks]
    parts += [Text(f"{r.name}: {r.version}, {r.path}", "dim") for r in report.runtimes if r.path]
    if report.flops:
        parts.append(Text(f"work: {work(report.flops)}", "dim"))
    if report.stream is not None:
        parts.append(Text(f"stream: {'; '.join(streaming.told(report.stream, report.flops))}", "dim"))
    if report.compression is not None:
        parts.append(Text(told(report.compression)))
    parts += [Text(found, "dim") for found in report.found]
    parts += [Text(f"warning: {warning}", "yellow") for warning in report.warnings]
    for runtime in (*report.checks, *report.runtimes):
        if (at := runtime.divergence) is not None:
            writer = f" ({at.op} {at.node}".rstrip() + ")" if at.op else ""
            place = f" at {at.tensor}{writer}" if at.tensor else ""
            parts.append(Text(f"{runtime.name} diverges in {at.case}{place}: {at.explanation}", "red"))
    parts += [Text(reason, "red") for reason in report.reasons]
    parts.append(Text(f"{MARK[report.verdict]} parity {report.verdict}", STYLE[report.verdict]))
    parts += [Text(told, "yellow") for told in report.unjudged]
    return Group(*parts)


def print_table(report: ParityReport, console: Console | None = None) -> None:
    (console or Terminal()).print(table(report))


def _cell(verdict: str, share: float | None) -> str:
    return f"{100 * share:.0f}" if verdict == PASS and share is not None else MARK[verdict]


def _case(number: int, name: str, bounds: dict[str, Bound]) -> Text:
    words = ", ".join(
        f"{output} within {figure(b.allowed)}"
        if b.judgeable
        else f"{output} ill-conditioned x{figure(b.conditioning)}"
        for output, b in bounds.items()
    )
    return Text(f"  {number}  {name}: {words}", "dim")
