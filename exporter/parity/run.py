"""The parity run: every runtime over every case, judged against the oracle, gated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

from temport.exporter.declare.declaration import HALF
from temport.exporter.errors import UserError
from temport.exporter.parity.bisect import locate
from temport.exporter.parity.cases import Case
from temport.exporter.parity.compare import CEILING, EPS, FORMULA, judge, worst
from temport.exporter.parity.conditioning import JITTERS
from temport.exporter.parity.decided import settled
from temport.exporter.parity.gate import gate
from temport.exporter.parity.oracle import Truth, find_truths
from temport.exporter.parity.remarks import remarks
from temport.exporter.parity.result import (
    FAIL,
    NOT_RUN,
    CaseRow,
    OutputRow,
    ParityReport,
    ResultRow,
    RuntimeRow,
)
from temport.exporter.parity.rounding_noise import RULES
from temport.exporter.runtimes import every
from temport.exporter.runtimes.contract import Runtime, Session
from temport.exporter.runtimes.subject import Subject

OnRuntime = Callable[[str, int, int], None]
"""`progress(what, step, steps)`, called before each runtime."""


def run_parity(
    subject: Subject,
    cases: Sequence[Case],
    runtimes: Sequence[Runtime] | None = None,
    *,
    threads: int = 1,
    truths: Sequence[Truth] | None = None,
    progress: OnRuntime | None = None,
) -> ParityReport:
    """Compare every runtime (default: all registered) with the float64 oracle.

    truths  known truths of the same cases, e.g. recorded ones; None computes them from the torch source

    A runtime that cannot run here gets a row that says why. One that fails gets its first diverging tensor.
    """
    if not cases:
        raise UserError("a parity run needs at least one case")
    runtimes = every() if runtimes is None else runtimes
    notify = progress or (lambda what, step, steps: None)
    steps = len(runtimes) + 1
    notify("torch_float64 (oracle)", 0, steps)
    truths = find_truths(subject, cases, threads) if truths is None else truths
    rows = []
    for step, runtime in enumerate(runtimes, 1):
        notify(runtime.name, step, steps)
        rows.append(run_runtime(subject, runtime, truths, threads))
    verdict, reasons = gate(rows)
    precision = subject.declaration.precision
    content = subject.model_path.read_bytes()
    return ParityReport(
        declaration=json.loads(json.dumps(subject.declaration.to_json())),  # tuples become lists once, here
        model={
            "file": subject.model_path.name,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        },
        precision=precision,
        formula=f"{FORMULA}; {RULES}" if precision in HALF else FORMULA,
        eps=EPS[precision],
        ceiling=CEILING[precision],
        jitters=JITTERS,
        cases=tuple(CaseRow(t.case.name, t.case.kind, t.case.shapes(), t.bounds) for t in truths),
        runtimes=tuple(rows),
        verdict=verdict,
        reasons=reasons,
        warnings=remarks(truths, precision),
    )


def run_runtime(subject: Subject, runtime: Runtime, truths: Sequence[Truth], threads: int = 1) -> RuntimeRow:
    """One row of the report; an exception inside the runtime is a failure of that runtime, not of the run."""
    try:
        refusal = runtime.unavailable() or runtime.capabilities.refusal(subject.declaration)
    except Exception as error:
        return RuntimeRow(
            runtime.name, "", "", FAIL, f"it cannot say whether it runs here: {_summary(error)}"
        )
    if refusal is not None:
        return RuntimeRow(runtime.name, "", "", NOT_RUN, refusal)
    try:
        session = runtime.open(subject, threads)
    except UserError as error:
        return RuntimeRow(runtime.name, "", "", NOT_RUN, str(error))
    except Exception as error:
        return RuntimeRow(runtime.name, "", "", FAIL, f"the model does not load: {_summary(error)}")
    with session:
        results = tuple(run_case(session, truth, subject.declaration.precision) for truth in truths)
        verdict = worst([result.verdict for result in results])
        row = RuntimeRow(runtime.name, session.version, session.path, verdict, "", results)
    if verdict != FAIL:
        return row
    failed = next(t for t, r in zip(truths, results, strict=True) if r.verdict == FAIL)
    return RuntimeRow(
        row.name, row.version, row.path, verdict, "", results, locate(subject, runtime, failed, threads)
    )


def run_case(session: Session, truth: Truth, precision: str) -> ResultRow:
    """Run one case and judge each declared output; a missing output fails."""
    try:
        actual = session.run(truth.case.inputs)
    except Exception as error:
        rows = {name: OutputRow(FAIL, run_failure(error)) for name in truth.outputs}
        return ResultRow(truth.case.name, FAIL, rows)
    actual = settled(actual, truth.outputs, truth.undecided)
    rows = {
        name: judge(actual[name], oracle, truth.bounds[name], precision, truth.limits.get(name))
        if name in actual
        else OutputRow(FAIL, f"there is no output {name}")
        for name, oracle in truth.outputs.items()
    }
    return ResultRow(truth.case.name, worst([row.verdict for row in rows.values()]), rows)


def run_failure(error: Exception) -> str:
    return f"the run fails: {_summary(error)}"


def _summary(error: Exception) -> str:
    """The first line of a runtime's message: some append pages of graph or C++ stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
