"""A scorecard as a short page of markdown, as CI systems show it beside a job."""

from __future__ import annotations

from temport.exporter.report.markdown import words
from temport.exporter.scorecard.card import Scorecard
from temport.exporter.scorecard.figures import COLUMNS, legend, why
from temport.exporter.scorecard.table import ordered


def markdown(card: Scorecard) -> str:
    lines = [
        f"### Scorecard of {words(card.bundle)}, {card.numbers}: **{card.verdict}**",
        "",
        *(f"- {words(reason)}" for reason in card.reasons),
        "",
        f"| runtime | {' | '.join(COLUMNS)} | |",
        f"|---|---|{'--:|' * (len(COLUMNS) - 1)}---|",
    ]
    for row in ordered(card):
        cells = (show(row) for show in COLUMNS.values())
        lines.append(f"| {words(row.name)} | {' | '.join(cells)} | {words(why(row) or row.version)} |")
    lines += ["", words(legend(card))]
    return "\n".join(lines) + "\n"
