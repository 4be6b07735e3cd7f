"""A report as a short page of markdown, as CI systems show it beside a job."""

from __future__ import annotations

from temport.exporter.parity.result import PASS, ParityReport
from temport.exporter.report.html import matrix

MARKS = "\\`*_{}[]<>()#|!~&"


def markdown(report: ParityReport) -> str:
    """Verdict and reasons, then runtimes with their verdicts and worst errors, then what to know."""
    lines = [
        f"### Parity of {words(str(report.declaration['arch']))}, {report.precision}: **{report.verdict}**",
        "",
        *(f"- {words(told)}" for told in (*report.reasons, *report.unjudged)),
        "",
        "| runtime | verdict | worst error, % of its bound | |",
        "|---|---|--:|---|",
    ]
    for row, cells in matrix(report):
        shares = [cell.share for cell in cells if cell.share is not None]
        worst = f"{100 * max(shares):.0f}" if shares else ""
        told = row.version if row.verdict == PASS else row.reason
        lines.append(f"| {words(row.name)} | {row.verdict} | {worst} | {words(told)} |")
    lines += ["", f"{len(report.cases)} cases, {words(report.formula)}."]
    lines += [f"- {words(warning)}" for warning in report.warnings]
    return "\n".join(lines) + "\n"


def words(text: str) -> str:
    """Words from outside stay words."""
    return "".join(f"\\{c}" if c in MARKS else c for c in " ".join(text.split()))
