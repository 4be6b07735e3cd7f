"""A scorecard on the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from temport.exporter.parity.result import NOT_RUN
from temport.exporter.report.table import MARK, STYLE
from temport.exporter.scorecard.card import Row, Scorecard
from temport.exporter.scorecard.figures import COLUMNS, legend, why

LEFT_OUT = ("longest", "runs")
"""Columns that a terminal has no room for; the page has them."""


def print_card(card: Scorecard, console: Console) -> None:
    shown = {heading: show for heading, show in COLUMNS.items() if heading not in LEFT_OUT}
    title = f"scorecard of {card.bundle}, {card.numbers}"
    grid = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    grid.add_column("runtime", no_wrap=True)
    for heading in shown:
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in ordered(card):
        grid.add_row(
            row.name,
            *(Text(show(row), STYLE[row.verdict] if h == "verdict" else "") for h, show in shown.items()),
        )
    console.print(grid)
    for row in card.rows:
        if told := why(row):
            console.print(
                Text(f"{row.name} {told}" if row.verdict == NOT_RUN else f"{row.name}: {told}", "dim")
            )
    console.print(Text(legend(card), "dim"))
    for reason in card.reasons:
        console.print(Text(reason, "red"))
    console.print(Text(f"{MARK[card.verdict]} parity {card.verdict}", STYLE[card.verdict]))


def ordered(card: Scorecard) -> list[Row]:
    """The fastest first; then what has no time, as the report has it."""
    timed = sorted(
        (r for r in card.rows if r.speed is not None), key=lambda r: r.speed.p50 if r.speed else 0.0
    )
    return [*timed, *(row for row in card.rows if row.speed is None)]
