"""From rows to one verdict; rows measured by another program are judged by the same bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from temport.exporter.errors import UserError
from temport.exporter.parity.compare import rejudge, worst
from temport.exporter.parity.result import FAIL, ILL, NOT_RUN, PASS, ParityReport, ResultRow, RuntimeRow
from temport.exporter.parity.serial import runtime_row


def gate(rows: Sequence[RuntimeRow], checks: Sequence[RuntimeRow] = ()) -> tuple[str, tuple[str, ...]]:
    """Red when a runtime that was run failed or less than half of its cases could be judged, or when none was run.

    checks  of the file itself: they count like runtimes, but where only they were run, none was
    """
    executed = [row for row in rows if row.verdict != NOT_RUN]
    judging = [*checks, *executed]
    reasons = [_why(row) for row in judging if row.verdict == FAIL]
    reasons += [_too_few(row) for row in judging if row.verdict != FAIL and _judged_share(row) < 0.5]
    if not executed:
        reasons.append("no runtime was run")
    return (FAIL if reasons else PASS), tuple(reasons)


def _judged_share(row: RuntimeRow) -> float:
    """The share of its cases in which a row is right or wrong."""
    judged = sum(result.verdict != ILL for result in row.results)
    return judged / len(row.results) if row.results else 0.0


def _too_few(row: RuntimeRow) -> str:
    unjudged = [
        next(o.reason for o in result.outputs.values() if o.verdict == ILL)
        for result in row.results
        if result.verdict == ILL
    ]
    whys = "; ".join(f"in {count}: {why}" for why, count in Counter(unjudged).most_common())
    total = len(row.results)
    return f"{row.name}: only {total - len(unjudged)} of {total} cases could be judged ({whys or 'there is none'})"


def merge(report: ParityReport, rows: Sequence[dict[str, Any]]) -> ParityReport:
    """Add or replace runtime rows that another program wrote, in the schema of report.json's `runtimes`.

    Their verdicts are not believed: each is derived again from the measured error and this report's bounds.
    A case that a row leaves out is a failure of that row. Raises UserError for rows of another shape.
    """
    judged = [_judged(report, runtime_row(row)) for row in rows]
    fresh = {row.name: row for row in judged}
    kept = tuple(fresh.pop(row.name, row) for row in report.runtimes)
    runtimes = (*kept, *fresh.values())
    verdict, reasons = gate(runtimes, report.checks)
    return replace(report, runtimes=runtimes, verdict=verdict, reasons=reasons)


def _judged(report: ParityReport, row: RuntimeRow) -> RuntimeRow:
    if row.verdict == NOT_RUN or (row.verdict == FAIL and not row.results):
        return row
    cases = {case.name: case for case in report.cases}
    if unknown := [result.case for result in row.results if result.case not in cases]:
        raise UserError(f"{row.name} reports case {unknown[0]!r}, which this report does not have")
    if missing := set(cases) - {result.case for result in row.results}:
        return replace(row, verdict=FAIL, reason=f"{len(missing)} cases were not run, first {min(missing)}")
    results = []
    for result in row.results:
        bounds = cases[result.case].bounds
        if set(bounds) != set(result.outputs):
            raise UserError(
                f"{row.name} reports outputs {sorted(result.outputs)}; the model has {sorted(bounds)}"
            )
        outputs = {
            name: rejudge(output, bounds[name], report.precision) for name, output in result.outputs.items()
        }
        results.append(ResultRow(result.case, worst([o.verdict for o in outputs.values()]), outputs))
    return replace(row, verdict=worst([r.verdict for r in results]), results=tuple(results))


def _why(row: RuntimeRow) -> str:
    if row.reason:
        return f"{row.name}: {row.reason}"
    failed = [result for result in row.results if result.verdict == FAIL]
    output, first = next((n, o) for n, o in failed[0].outputs.items() if o.verdict == FAIL)
    more = f" and {len(failed) - 1} more cases" if len(failed) > 1 else ""
    return f"{row.name}: {failed[0].case}, {output}: {first.reason}{more}"
