"""The parity run: every runtime over every case, judged against the oracle, gated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from temport.exporter.compilers.targets import engine_of
from temport.exporter.declare.declaration import HALF
from temport.exporter.errors import NotForThisMachine, UserError
from temport.exporter.parity.bisect import locate
from temport.exporter.parity.cases import Case
from temport.exporter.parity.compare import CEILING, CONDITIONED, EPS, FORMULA, judge, worst
from temport.exporter.parity.conditioning import JITTERS
from temport.exporter.parity.decided import settled
from temport.exporter.parity.gate import gate
from temport.exporter.parity.oracle import Truth, find_truths
from temport.exporter.parity.remarks import remarks
from temport.exporter.parity.replay import DIFFERS, outputs_sha256, recorded
from temport.exporter.parity.result import (
    FAIL,
    NOT_RUN,
    PASS,
    CaseRow,
    OutputRow,
    ParityReport,
    ResultRow,
    RuntimeRow,
)
from temport.exporter.parity.rounding_noise import RULES
from temport.exporter.parity.unseen import Unseen, find_unseen
from temport.exporter.runtimes import every
from temport.exporter.runtimes.contract import Runtime, Session
from temport.exporter.runtimes.subject import Subject
from temport.plugins import first_line

SEVERAL_THREADS = 3
"""Threads of one more run, of the first case: work that is divided otherwise must not change what comes out."""
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

    truths  known truths of the same cases, e.g. recorded ones; None computes them from the source

    A runtime that cannot run here gets a row that says why; so does one that refuses the model, unless an engine for
    this machine was built of it, which fails then. One that fails gets its first diverging tensor.
    """
    if not cases:
        raise UserError("a parity run needs at least one case")
    runtimes = every() if runtimes is None else runtimes
    notify = progress or (lambda what, step, steps: None)
    steps = len(runtimes) + 1
    notify("float64 oracle", 0, steps)
    truths = find_truths(subject, cases, threads) if truths is None else truths
    unseen = find_unseen(subject, truths[0])
    rows = []
    for step, runtime in enumerate(runtimes, 1):
        notify(runtime.name, step, steps)
        rows.append(run_runtime(subject, runtime, truths, threads, unseen))
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
        formula=f"{FORMULA}; {RULES}" if precision in HALF else CONDITIONED,
        eps=EPS[precision],
        ceiling=CEILING[precision],
        jitters=JITTERS,
        cases=tuple(CaseRow(t.case.name, t.case.kind, t.case.shapes(), t.bounds) for t in truths),
        runtimes=tuple(rows),
        verdict=verdict,
        reasons=reasons,
        warnings=(*remarks(truths, subject.declaration), *(unseen.remarks() if unseen is not None else ())),
    )


def run_runtime(
    subject: Subject,
    runtime: Runtime,
    truths: Sequence[Truth],
    threads: int = 1,
    unseen: Unseen | None = None,
) -> RuntimeRow:
    """One row of the report; an exception inside the runtime is a failure of that runtime, not of the run.

    unseen  where NaN and infinity must have no influence; it notes what comes through in whom it does not fail
    """
    row = RuntimeRow(runtime.name, "", "", FAIL, "")
    try:
        row = replace(row, engine=engine_of(subject.model_path.parent, runtime.name))
        absent = runtime.unavailable()
        refusal = runtime.capabilities.refusal(subject.declaration)
    except Exception as error:
        return replace(row, reason=f"it cannot say whether it runs here: {first_line(error)}")
    if absent is not None:
        return replace(row, verdict=NOT_RUN, reason=absent)
    if refusal is not None:
        return _refused(row, refusal)
    try:
        session = runtime.open(subject, threads)
    except NotForThisMachine as error:
        return replace(row, verdict=NOT_RUN, reason=str(error))
    except UserError as error:
        return _refused(row, str(error))
    except Exception as error:
        return replace(row, reason=f"the model does not load: {first_line(error)}")
    with session:
        exact = runtime.capabilities.exact
        results = tuple(run_case(session, truth, subject.declaration.precision, exact) for truth in truths)
        if exact:
            hashes = recorded(subject.model_path.parent, [truth.case for truth in truths])
            results = tuple(_as_recorded(result, hashes.get(result.case)) for result in results)
        row = replace(row, version=session.version, path=session.path, verdict=PASS, results=results)
        right = bool(results) and all(result.verdict != FAIL for result in results)
        leak = unseen.check(runtime.name, session, subject) if unseen is not None and right else ""
    if leak:
        return replace(row, verdict=FAIL, results=(_failed(results[0], leak), *results[1:]))
    if right and runtime.capabilities.threads:
        divided = _on_several_threads(subject, runtime, truths[0])
        if divided.verdict == FAIL:
            results, threads = (divided, *results[1:]), SEVERAL_THREADS
    verdict = worst([result.verdict for result in results])
    if verdict != FAIL:
        return replace(row, verdict=verdict)
    failed = next(t for t, r in zip(truths, results, strict=True) if r.verdict == FAIL)
    divergence = locate(subject, runtime, failed, threads)
    return replace(row, verdict=verdict, results=results, divergence=divergence)


def _refused(row: RuntimeRow, reason: str) -> RuntimeRow:
    """A runtime that does not take the model is not run; an engine that was built of it fails: nothing proves it."""
    if not row.engine:
        return replace(row, verdict=NOT_RUN, reason=reason)
    return replace(
        row, verdict=FAIL, reason=f"engine {row.engine} is for this machine and was not run: {reason}"
    )


def _as_recorded(result: ResultRow, outputs_sha256: str | None) -> ResultRow:
    """A result, failed where its outputs are other bytes than the recorded ones (None: nothing was recorded); one that
    failed anyway keeps its own reason.
    """
    if result.verdict == FAIL or outputs_sha256 in (None, result.outputs_sha256):
        return result
    return _failed(result, DIFFERS)


def _failed(result: ResultRow, reason: str) -> ResultRow:
    """A result whose numbers are right, failed for another reason."""
    outputs = {name: replace(row, verdict=FAIL, reason=reason) for name, row in result.outputs.items()}
    return replace(result, verdict=FAIL, outputs=outputs)


def _on_several_threads(subject: Subject, runtime: Runtime, truth: Truth) -> ResultRow:
    """The case judged by the same bounds as on one thread; the reasons of a failure say that it is of threads."""
    try:
        with runtime.open(subject, SEVERAL_THREADS) as session:
            result = run_case(session, truth, subject.declaration.precision)
    except Exception as error:
        told = OutputRow(FAIL, f"the model does not load: {first_line(error)}")
        result = ResultRow(truth.case.name, FAIL, dict.fromkeys(truth.outputs, told))
    outputs = {
        name: replace(row, reason=f"on {SEVERAL_THREADS} threads: {row.reason}") if row.reason else row
        for name, row in result.outputs.items()
    }
    return replace(result, outputs=outputs)


def run_case(session: Session, truth: Truth, precision: str, exact: bool = False) -> ResultRow:
    """Run one case and judge each declared output; a missing output fails.

    exact  whether the row has the hash of the outputs
    """
    try:
        actual = session.run(truth.case.inputs)
    except Exception as error:
        rows = {name: OutputRow(FAIL, run_failure(error)) for name in truth.outputs}
        return ResultRow(truth.case.name, FAIL, rows)
    digest = outputs_sha256(actual) if exact else ""
    actual = settled(actual, truth.outputs, truth.undecided)
    rows = {
        name: judge(actual[name], oracle, truth.bounds[name], precision, truth.limits.get(name))
        if name in actual
        else OutputRow(FAIL, f"there is no output {name}")
        for name, oracle in truth.outputs.items()
    }
    return ResultRow(truth.case.name, worst([row.verdict for row in rows.values()]), rows, digest)


def run_failure(error: Exception) -> str:
    return f"the run fails: {first_line(error)}"
