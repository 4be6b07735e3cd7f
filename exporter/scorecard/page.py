"""scorecard.html: one file that opens offline, fetches nothing and runs no script."""

from __future__ import annotations

from pathlib import Path

from temport.exporter.parity.result import NOT_RUN
from temport.exporter.report.chart import Strip, distribution
from temport.exporter.report.html import kind
from temport.exporter.report.pages import pages
from temport.exporter.scorecard.card import Scorecard
from temport.exporter.scorecard.chart import shares, sizes
from temport.exporter.scorecard.figures import COLUMNS, amount, legend, tick, why
from temport.exporter.scorecard.table import ordered

TEMPLATE = "scorecard.html.jinja"


def page(card: Scorecard) -> str:
    """Every string in it is escaped: rows may come from other programs."""
    environment = pages(Path(__file__).parent)
    environment.filters |= {"kind": kind, "amount": amount, "why": why}
    rows = ordered(card)
    timed = [Strip(row.name, row.verdict, row.speed.quantiles) for row in rows if row.speed is not None]
    return environment.get_template(TEMPLATE).render(
        card=card,
        rows=rows,
        columns=COLUMNS,
        legend=legend(card),
        times=distribution(timed, of="time", shown=tick) if timed else None,
        sizes=sizes(rows),
        shares=shares(rows),
        NOT_RUN=NOT_RUN,
    )
