"""Tables of the benchmark commands, and how their numbers are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from rich.table import Table

from temport.exporter.logs import LOG
from temport.exporter.terminal import Terminal

if TYPE_CHECKING:
    from temport.exporter.bench.timing import Timing

Row = TypeVar("Row")
LOG_WIDTH = 120


class Output(Terminal):
    """A terminal as wide as it is; a log is wide enough for every table."""

    def __init__(self) -> None:
        super().__init__()
        if not self.is_terminal:
            self.width = LOG_WIDTH

    def say(self, text: str) -> None:
        """A line in between, such as progress."""
        LOG.info(text)


def table(title: str, rows: Iterable[Row], columns: Mapping[str, Callable[[Row], str]]) -> Table:
    """One line per row; `columns` maps a heading to what it shows of a row, the first one is the row's name."""
    made = Table(title=title, title_justify="left")
    for i, heading in enumerate(columns):
        made.add_column(heading, justify="right" if i else "left")
    for row in rows:
        made.add_row(*(show(row) for show in columns.values()))
    return made


def milliseconds(seconds: float) -> str:
    """Three significant digits: `0.452 ms`, `12.3 ms`, `1240 ms`."""
    value = seconds * 1e3
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f} ms"


def quartiles(timing: Timing) -> str:
    """`0.441 - 0.460 ms`"""
    return f"{milliseconds(timing.lower).removesuffix(' ms')} - {milliseconds(timing.upper)}"
