"""A runtime that runs a step model frame by frame, seen from outside as one that takes whole streams.

With this a stream is a case like any other: inputs `[batch, frames, features]`, outputs `[batch, frames, hidden]`,
compared at every position with the float64 sequence form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from temport.exporter.declare.declaration import Declaration
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.result import FAIL, Divergence, ParityReport, RuntimeRow
from temport.exporter.parity.rounding_noise import rms, within
from temport.exporter.runtimes.contract import Arrays, Closing, Runtime, Session
from temport.exporter.runtimes.frames import frame_of
from temport.exporter.runtimes.subject import Subject


def initial_state(declaration: Declaration, batch: int) -> Arrays:
    """The state inputs before the first frame: zeros."""
    states = {before for before, _ in declaration.states}
    return {
        spec.name: np.zeros(spec.at(batch=batch), spec.dtype)
        for spec in declaration.inputs
        if spec.name in states
    }


def batch_of(declaration: Declaration) -> int:
    """Sequences or streams of one run, at the optimum; 1 where no axis is called `batch`."""
    axis = declaration.axes.get("batch")
    return 1 if axis is None else axis.opt


class StreamSession(Closing):
    """One session of a step model, from zero state through all frames of a case."""

    def __init__(self, session: Session, declaration: Declaration) -> None:
        self.session, self.declaration = session, declaration
        self.path, self.version = session.path, session.version

    def run(self, inputs: Arrays) -> Arrays:
        given = [spec for spec in self.declaration.inputs if spec.name in inputs]
        batch, length = inputs[given[0].name].shape[:2]
        states = self.declaration.states
        state = initial_state(self.declaration, batch)
        carried = {after for _, after in states}
        names = [spec.name for spec in self.declaration.outputs if spec.name not in carried]
        outputs: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for t in range(length):
            frame = {spec.name: frame_of(spec, inputs[spec.name], t) for spec in given}
            result = self.session.run({**frame, **state})
            state = {before: result[after] for before, after in states}
            for name in names:
                outputs[name].append(result[name])
        return {name: np.stack(frames, axis=1) for name, frames in outputs.items()}


def as_session(graph: Session, declaration: Declaration) -> Session:
    """What runs a case on a graph: that of a step model frame by frame."""
    return StreamSession(graph, declaration) if declaration.streaming else graph


class Streamed:
    """`runtime`, running the step model of its subject over whole streams."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.name = runtime, runtime.name
        # a tensor inside one step cannot be compared with a stream: failures are located by frame instead
        self.capabilities = replace(runtime.capabilities, intermediates=False)

    def unavailable(self) -> str | None:
        if not (self.capabilities.streams or self.capabilities.whole_streams):
            return "its program starts anew for every call, so it cannot run frame by frame here"
        return self.runtime.unavailable()

    def open(self, subject: Subject, threads: int = 1) -> Session:
        session = self.runtime.open(subject, threads)
        return session if self.capabilities.whole_streams else StreamSession(session, subject.declaration)


def locate_frames(
    report: ParityReport, subject: Subject, runtimes: Sequence[Runtime], truths: Sequence[Truth]
) -> ParityReport:
    """The report with each failed runtime's first wrong frame, found by running its first failed case again."""
    by_name = {runtime.name: runtime for runtime in runtimes}
    rows = tuple(
        replace(row, divergence=_first_wrong_frame(row, subject, by_name[row.name], truths))
        if row.verdict == FAIL and row.results
        else row
        for row in report.runtimes
    )
    return replace(report, runtimes=rows)


def _first_wrong_frame(
    row: RuntimeRow, subject: Subject, runtime: Runtime, truths: Sequence[Truth]
) -> Divergence | None:
    failed = next(result.case for result in row.results if result.verdict == FAIL)
    truth = next(t for t in truths if t.case.name == failed)
    wrong_outputs = next(result.outputs for result in row.results if result.case == failed)
    name = next(name for name, output in wrong_outputs.items() if output.verdict == FAIL)
    if name not in truth.outputs:
        return None
    expected, allowed = truth.outputs[name], truth.bounds[name].allowed
    try:
        with runtime.open(subject) as session:
            actual = session.run(truth.case.inputs)[name]
    except Exception:  # the row already says how the run fails
        return None
    if actual.shape != expected.shape or allowed is None:
        return None
    limits = truth.limits.get(name)
    with np.errstate(invalid="ignore"):
        error = np.abs(actual.astype(np.float64) - expected)
    others = tuple(i for i in range(error.ndim) if i != 1)
    errors = error.max(axis=others)
    wrong = np.flatnonzero(~within(error, allowed, limits).all(axis=others))
    if not len(wrong):
        still = limits is not None and rms(error) > limits.rms
        told = (
            "no single frame is wrong, all of them together are further away than rounding explains"
            if still
            else "it passes when run again: it is not deterministic"
        )
        return Divergence(failed, "unlocated", name, "", "", None, allowed, told)
    t = int(wrong[0])
    first = float(errors[t]) if np.isfinite(errors[t]) else None
    return Divergence(
        failed,
        "unlocated",
        name,
        "step model",
        "",
        first,
        allowed,
        f"frame {t} of {len(errors)} is the first that is wrong; {len(wrong)} are",
    )
