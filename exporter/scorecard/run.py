"""`temport scorecard`: verdicts of a parity run, then every runtime that is right, timed side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from temport.exporter.bundle.directory import Bundle, versions
from temport.exporter.errors import UserError, did_you_mean
from temport.exporter.machine import description
from temport.exporter.parity.gate import gate, merge
from temport.exporter.parity.result import FAIL, NOT_RUN, ParityReport, RuntimeRow
from temport.exporter.parity.serial import read_json
from temport.exporter.parity.stream import batch_of, initial_state
from temport.exporter.parity.trial import Trial
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.progress import Progress
from temport.exporter.recheck import parity_of_bundle, rebuilt_module
from temport.exporter.report.html import matrix
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.contract import Runtime
from temport.exporter.runtimes.converted import Converted, keeping
from temport.exporter.runtimes.runner import Runner, RunnerRuntime, replay, run
from temport.exporter.scorecard.allocations import built
from temport.exporter.scorecard.card import Row, Scorecard
from temport.exporter.scorecard.contenders import Contender, Loaded, Program
from temport.exporter.scorecard.measure import measure
from temport.exporter.scorecard.worker import Task


def scorecard(
    bundle: Bundle,
    runtimes: Sequence[str],
    runners: Sequence[Runner],
    progress: Progress,
    *,
    seconds: float,
    source: str | None = None,
    keep_verdicts: bool = False,
) -> Scorecard:
    """Every runtime (or those named) and every runner, on this machine.

    seconds        in which each is timed
    source         as of `parity_of_bundle`
    keep_verdicts  take those of the bundle's own report, and run no parity
    """
    with TemporaryDirectory(prefix="temport-scorecard-") as folder, keeping(Path(folder)):
        if keep_verdicts:
            report = _kept(bundle, runtimes)
        else:
            report = parity_of_bundle(bundle, runtimes, (), (), progress, source=source)
        programs: dict[str, Program] = {}
        for runner in runners:
            progress.step(f"replaying in {runner.name}")
            rows_there = replay(runner, bundle.path)
            report = merge(report, rows_there)
            programs |= {row["name"]: Program(runner.run, bundle.path) for row in rows_there}
        task = task_of(bundle, source, built(Path(folder)))
        contenders = {
            row.name: programs.get(row.name) or _contender(row.name, task, bundle)
            for row in report.runtimes
            if row.verdict not in (FAIL, NOT_RUN)
        }
        found = measure(contenders, seconds, progress)
    shares = {
        row.name: max((cell.share for cell in cells if cell.share is not None), default=None)
        for row, cells in matrix(report)
    }
    declaration = bundle.declaration
    rows = []
    for row in report.runtimes:
        made = Row(row.name, row.verdict, row.unjudged or row.reason, row.version, row.path, shares[row.name])
        if row.name in found:
            of = found[row.name]
            told = {name: value for name, value in of.fields.items() if value != ""}
            made = replace(made, **told, speed=of.speed, untimed=of.untimed)
        elif row.verdict == FAIL:
            made = replace(made, reason=_why(row), untimed="what is wrong is not timed")
        rows.append(made)
    return Scorecard(
        bundle=bundle.path.resolve().name,
        digest=bundle.digest,
        of="frame" if declaration.streaming else "inference",
        numbers=declaration.numbers,
        inputs={
            spec.name: f"{spec.dtype} [{', '.join(map(str, spec.at()))}]"
            for spec in declaration.inputs
            if spec.name not in task.state
        },
        state=sum(array.nbytes for array in task.state.values()),
        verdict=report.verdict,
        reasons=report.reasons,
        machine=description(),
        versions=versions(),
        time=time.time(),
        rows=tuple(rows),
    )


def _kept(bundle: Bundle, runtimes: Sequence[str]) -> ParityReport:
    """The bundle's own report, of those runtimes."""
    report = read_json(bundle.path / "report.json")
    known = {row.name: row for row in report.runtimes}
    for name in runtimes:
        if name not in known:
            raise UserError(
                f"the report of {bundle.path} has no row {name!r}; {did_you_mean(name, known)}, or leave "
                "--keep-verdicts out"
            )
    rows = tuple(known[name] for name in runtimes) or report.runtimes
    verdict, reasons = gate(rows, report.checks)
    return replace(report, runtimes=rows, verdict=verdict, reasons=reasons)


def task_of(bundle: Bundle, source: str | None, counter: Path | None) -> Task:
    """What is measured, without the runtime's name: the first of the recorded cases, where open axes are at their
    optimum.
    """
    inputs = read_vectors(bundle.path / "vectors.npz")[0].case.inputs
    declaration = bundle.declaration
    state = initial_state(declaration, batch_of(declaration)) if declaration.streaming else {}
    return Task("", bundle.path, bundle.digest, inputs, state, source, counter)


def _contender(name: str, task: Task, bundle: Bundle) -> Contender:
    runtime = runtime_named(name)
    if isinstance(runtime, Converted):

        def make() -> Runtime:
            module = rebuilt_module(bundle, task.source) if runtime.form.of_module else None
            return runtime.ready(Trial.of(bundle.declaration, bundle.model_path, module).subject)

        return Loaded(replace(task, runtime=name), make)
    if isinstance(runtime, RunnerRuntime):
        return Program(partial(_run_found, runtime), task.bundle)
    return Loaded(replace(task, runtime=name))


def _run_found(runtime: RunnerRuntime, bundle: Path, options: Sequence[str]) -> dict[str, Any]:
    found = runtime.find()
    return run(found.command, bundle, (*found.options, *options))


def _why(row: RuntimeRow) -> str:
    """In a sentence, with the first wrong tensor where it is known."""
    outputs = [o.reason for result in row.results for o in result.outputs.values() if o.verdict == FAIL]
    told = row.reason or next(iter(outputs), "")
    tensor = row.divergence.tensor if row.divergence is not None else ""
    return f"{told}; the first wrong tensor is {tensor}" if tensor else told
