"""What a second scorecard has that the first has not."""

from __future__ import annotations

from collections.abc import Iterator

from temport.exporter.errors import UserError
from temport.exporter.parity.result import FAIL
from temport.exporter.report.aspects import SIGNATURE, SIZE, SPEED, VERDICTS, Difference, grown, verdicts
from temport.exporter.scorecard.card import Row, Scorecard
from temport.exporter.scorecard.figures import amount, duration


def card_differences(
    before: Scorecard, after: Scorecard, tolerance: float, *, speed: bool
) -> Iterator[Difference]:
    """Verdicts, sizes and times of the runtimes that both have.

    speed  whether somebody goes by the times: then UserError where they cannot be compared

    Times of two machines, or of other inputs, say nothing of each other, and are not compared.
    """
    for name in ("run", "numbers"):
        if getattr(before, name) != getattr(after, name):
            yield Difference(SIGNATURE, f"{name}: {getattr(before, name)} before, {getattr(after, name)} now")
    yield from verdicts("parity", before.verdict, after.verdict, "; ".join(after.reasons))
    same = (before.machine, before.run) == (after.machine, after.run)
    if not same:
        told = f"{_where(before)} before, {_where(after)} now"
        if speed:
            raise UserError(
                f"the times of the two scorecards say nothing of each other ({told}); make both on one machine "
                "and of bundles with the same inputs, or leave --fail-on speed out"
            )
        yield Difference(SPEED, f"not compared: {told}", worse=False)
    old, new = ({row.name: row for row in card.rows} for card in (before, after))
    for name in (name for name in old if name not in new):
        yield Difference(VERDICTS, f"{name} has no row any more")
        if old[name].speed is not None:
            yield Difference(SPEED, f"{name} has no time any more: its row is gone")
    for name, row in new.items():
        if name in old:
            yield from _row(old[name], row, tolerance, same)
        else:
            yield Difference(VERDICTS, f"{name} is new: {row.verdict}", row.verdict == FAIL)


def _row(before: Row, after: Row, tolerance: float, same: bool) -> Iterator[Difference]:
    name = after.name
    yield from verdicts(name, before.verdict, after.verdict, after.reason)
    shares = before.share, after.share
    yield from grown(
        VERDICTS, f"{name}, worst share of a bound", shares, tolerance, lambda s: f"{100 * s:.3g}%"
    )
    for field in ("model", "libraries", "memory"):
        sizes = getattr(before, field), getattr(after, field)
        yield from grown(SIZE, f"{name}, {field}", sizes, tolerance, amount)
    counts = before.allocations, after.allocations
    yield from grown(SIZE, f"{name}, allocations of a run", counts, tolerance, lambda n: f"{n:g}")
    if not same:
        return
    if before.machine != after.machine:
        was, now = before.machine or "this machine", after.machine or "this machine"
        yield Difference(SPEED, f"{name}: not compared, on {was} before, {now} now")
    elif before.speed is not None and after.speed is not None:
        yield from grown(SPEED, f"{name}, p50", (before.speed.p50, after.speed.p50), tolerance, duration)
    elif before.speed is not None:
        yield Difference(SPEED, f"{name} has no time any more: {after.untimed or after.reason}")


def _where(card: Scorecard) -> str:
    return f"{card.run} on {card.machine}"
