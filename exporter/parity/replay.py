"""The outputs of an engine for recorded inputs as one number, which a reader elsewhere can compare with its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np

from temport.engine import runs_here
from temport.exporter.compilers.targets import REPORT_FILE, enter
from temport.exporter.native.engine import TARGET
from temport.exporter.parity.cases import Case
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.contract import Session
from temport.exporter.runtimes.subject import Subject


def outputs_sha256(session: Session, cases: Iterable[Case]) -> str:
    """Of the bytes of all outputs, little endian, in the order of the cases and of the model's outputs; those of a
    stream have the frames of a case as their second axis, as in `vectors.npz`. Every NaN counts as the same one: its
    bits are a matter of the processor.
    """
    digest = hashlib.sha256()
    for case in cases:
        for output in session.run(case.inputs).values():
            if output.dtype.kind == "f":
                output = np.where(np.isnan(output), np.array(np.nan, output.dtype), output)
            digest.update(np.ascontiguousarray(output, output.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def record(subject: Subject, cases: Iterable[Case]) -> None:
    """Run the native engine beside the subject's model and enter what it gives in `engine.json`; one that this machine
    cannot run, or that was not compiled, keeps its entry.
    """
    report = subject.model_path.parent / REPORT_FILE
    entry = next(e for e in json.loads(report.read_text())["engines"] if e["target"] == TARGET)
    if entry["file"] and runs_here(entry):
        with runtime_named("native_engine").open(subject) as session:
            enter(report, entry | {"outputs_sha256": outputs_sha256(session, cases)})
