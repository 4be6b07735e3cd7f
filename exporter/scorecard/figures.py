"""How the numbers of a scorecard are written: the same on a terminal, in markdown and on the page."""

from __future__ import annotations

from collections.abc import Callable

from temport.exporter.bench.tables import milliseconds
from temport.exporter.parity.result import NOT_RUN
from temport.exporter.scorecard.card import ENOUGH, Row, Scorecard

UNITS = ("B", "KiB", "MiB", "GiB")


def amount(count: float | None) -> str:
    """Bytes: `312 B`, `4.1 MiB`; empty where nobody knows."""
    if count is None:
        return ""
    unit = 0
    while count >= 1024 and unit + 1 < len(UNITS):
        count, unit = count / 1024, unit + 1
    return f"{count:.0f} {UNITS[unit]}" if count >= 100 or unit == 0 else f"{count:.1f} {UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """`452 us`, `12.3 ms`, `6.28 s`; empty where nobody knows."""
    if seconds is None:
        return ""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    return milliseconds(seconds) if seconds < 1 else f"{seconds:#.3g} s"


def tick(seconds: float) -> str:
    """The same on an axis of powers of ten: `100 us`, `1 ms`."""
    unit, name = (1e-6, "us") if seconds < 0.9e-3 else (1e-3, "ms") if seconds < 0.9 else (1.0, "s")
    return f"{seconds / unit:g} {name}"


COLUMNS: dict[str, Callable[[Row], str]] = {
    "verdict": lambda row: row.verdict,
    "% bound": lambda row: "" if row.share is None else f"{100 * row.share:.0f}",
    "p50": lambda row: "" if row.speed is None else duration(row.speed.p50),
    "p99.9": lambda row: "" if row.speed is None else duration(row.speed.p99_9),
    "longest": lambda row: "" if row.speed is None else duration(row.speed.longest),
    "runs": lambda row: "" if row.speed is None else str(row.speed.runs),
    "load": lambda row: duration(row.load),
    "libraries": lambda row: amount(row.libraries),
    "model": lambda row: amount(row.model),
    "memory": lambda row: amount(row.memory),
    "allocations": lambda row: "" if row.allocations is None else f"{row.allocations:g}",
}
"""Heading -> what it shows of a row."""


def legend(card: Scorecard) -> str:
    """What the columns are, and of what."""
    state = f", with {amount(card.state)} of state," if card.state else ""
    return (
        f"Times of {card.run}{state} on one thread, all runtimes in turns; p99.9 where at least {ENOUGH} runs were "
        "timed. load: from the file to a session that can run. libraries: what was mapped for it, on disk. model: what "
        "it loads of the model. memory: the peak over what the process held before. allocations: of one run, those of "
        f"the call from Python among them. An empty cell: nobody can say. {card.machine}."
    )


def why(row: Row) -> str:
    """What is to be said of a row in words: why it was not run, fails, or has no speed."""
    if row.verdict == NOT_RUN:
        return f"not run: {row.reason}"
    return "; ".join(part for part in (row.reason, row.untimed and f"not timed: {row.untimed}") if part)
