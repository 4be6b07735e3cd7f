"""The page of a certificate: the verdict, its conditions, and a picture of the times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from temport.exporter.certify.certificate import Check
from temport.exporter.certify.measure import CONDITIONS, Measured
from temport.exporter.report.chart import Strip, distribution

_SHOWN = (5.0, 25.0, 50.0, 75.0, 99.9, 100.0)


def picture(measured: Measured, budget: float) -> Markup:
    """Seconds of a frame under each condition: box 25 to 75 %, whisker 5 % to the maximum; red: the budget."""
    rows = [
        Strip(name, "pass", tuple(row.at(share) / 1e9 for share in _SHOWN))
        for name, row in measured.times.items()
    ]
    return distribution(rows, budget, None)


def write_page(
    path: Path, name: str, machine: str, found: Sequence[Check], measured: Measured, said: str, budget: float
) -> None:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    page = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True).get_template(
        "certificate.html.jinja"
    )
    path.write_text(
        page.render(
            name=name,
            machine=machine,
            said=said,
            checks=found,
            measured=measured,
            conditions=CONDITIONS,
            picture=picture(measured, budget),
        )
    )
