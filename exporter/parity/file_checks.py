"""Half precision: is the file itself right? Asked in float64, without any runtime, so that no rounding hides a fault.

A window one frame short moves the output less than bfloat16 rounds it. So the way to the file is checked in steps, each
as exactly as it can be:

    graph    the graph before its weights were rounded, against the torch source, as float32 is judged
    weights  how far rounding the weights moved the output, against what it costs torch
    file     the file, against the graph with its weights as rounded: the same but for the rounding of float64

What is left for the runtimes is the rounding of activations, which is judged as noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from temport.exporter.graph import body_domains
from temport.exporter.parity.before_rounding import BeforeRounding
from temport.exporter.parity.bisect import locate_in_file
from temport.exporter.parity.compare import exactly, worst
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.result import FAIL, ILL, PASS, Bound, OutputRow, ResultRow, RuntimeRow
from temport.exporter.parity.run import run_case, run_failure
from temport.exporter.parity.stream import as_session
from temport.exporter.runtimes import ORACLE, resolve
from temport.exporter.runtimes.contract import Session
from temport.exporter.runtimes.subject import Subject


def check_file(
    subject: Subject, truths: Sequence[Truth], before: BeforeRounding | None
) -> tuple[RuntimeRow, ...]:
    """One row per step; `truths` are those of half-precision runtimes.

    before  the graph before rounding, where this is an export. Later only what it gave is there, with the bundle: then
            that the torch source (where it is at hand) still gives the recorded numbers takes the place of `graph`.
    """
    known = [truth for truth in truths if truth.source is not None]
    if not known:  # recorded before there was such a thing
        return ()
    rows = [weights_row(known)]
    recorded = [truth for truth in known if not truth.of_file]
    if before is not None:
        graph = as_session(Float64Graph(before.unrounded()), subject.declaration)
        rows.insert(0, _row("graph", graph, sources(known), "float32"))
    elif subject.module is not None and recorded:
        with resolve(ORACLE).open(subject) as session:
            rows.insert(0, _row("source", session, exact_truths(sources(recorded)), "float64"))
    if recorded:
        rows.append(_file_row(subject, recorded))
    return tuple(rows)


def _file_row(subject: Subject, truths: Sequence[Truth]) -> RuntimeRow:
    try:
        session = as_session(Float64Graph(body_domains.read_model(subject.model_path)), subject.declaration)
    except Exception as error:  # a damaged file may raise anything
        return RuntimeRow("file", "", "", FAIL, run_failure(error))
    row = _row("file", session, exact_truths(truths), "float64")
    if row.verdict != FAIL or subject.declaration.streaming:  # of a stream no tensor is compared inside
        return row
    failed = next(t for t, r in zip(truths, row.results, strict=True) if r.verdict == FAIL)
    return replace(row, divergence=locate_in_file(subject, failed))


def weights_row(truths: Sequence[Truth]) -> RuntimeRow:
    """What rounding the weights costs in each case."""
    results = []
    for truth in truths:
        outputs = {name: _weights(bound) for name, bound in truth.bounds.items()}
        results.append(ResultRow(truth.case.name, worst([o.verdict for o in outputs.values()]), outputs))
    verdict = worst([result.verdict for result in results])
    return RuntimeRow("weights", "", "rounded, in float64", verdict, "", tuple(results))


def _weights(bound: Bound) -> OutputRow:
    if bound.allowed == 0:  # integers and bools are decided, or nobody is judged by them
        return OutputRow(PASS, "", max_abs=0.0, share=0.0)
    if bound.allowed_weights is None:
        return OutputRow(ILL, "the source, or the source with rounded weights, is not finite here")
    if bound.weights is None:
        return OutputRow(FAIL, "with rounded weights the graph is not finite, and the source is")
    share = bound.weights / bound.allowed_weights if bound.weights else 0.0
    reason = (
        f"rounding the weights moves the output by {bound.weights:.3g}, more than {bound.allowed_weights:.3g}"
    )
    verdict, told = (PASS, "") if share <= 1 else (FAIL, reason)
    return OutputRow(verdict, told, max_abs=bound.weights, share=share)


def _row(name: str, session: Session, truths: Sequence[Truth], precision: str) -> RuntimeRow:
    results = tuple(run_case(session, truth, precision) for truth in truths)
    verdict = worst([result.verdict for result in results])
    return RuntimeRow(name, session.version, session.path, verdict, "", results)


def sources(truths: Sequence[Truth]) -> list[Truth]:
    return [truth.source for truth in truths if truth.source is not None]


def exact_truths(truths: Sequence[Truth]) -> list[Truth]:
    """The same outputs, to be met but for the rounding of float64."""
    return [
        Truth(
            truth.case,
            truth.outputs,
            {name: exactly(o, truth.bounds[name].scale) for name, o in truth.outputs.items()},
        )
        for truth in truths
    ]
