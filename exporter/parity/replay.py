"""An engine's outputs for recorded inputs, a hash for each case: the same bytes come out wherever it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from temport.engine import NoEngineHere, native_entry
from temport.exporter.compilers.targets import REPORT_FILE, enter, entry_of
from temport.exporter.native.engine import TARGET
from temport.exporter.parity.cases import Case
from temport.exporter.parity.result import RuntimeRow
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject

RUNTIME = "native_engine"
DIFFERS = "its bytes differ from those that engine.json recorded"


def outputs_sha256(outputs: Arrays) -> str:
    """Of the bytes of all outputs of one case, little endian, in the order of the model's outputs; those of a stream
    have its frames as their second axis, as in `vectors.npz`. Every NaN counts as the same one: its bits are a matter
    of the processor.
    """
    digest = hashlib.sha256()
    for output in outputs.values():
        if output.dtype.kind == "f":
            output = np.where(np.isnan(output), np.array(np.nan, output.dtype), output)
        digest.update(np.ascontiguousarray(output, output.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def record(directory: Path, rows: Iterable[RuntimeRow]) -> None:
    """Enter in `engine.json` what the native engine of a bundle gave, by the rows of its report."""
    entry = entry_of(directory, TARGET)
    assert entry is not None, "the engine was built"
    results = [result for row in rows if row.engine == TARGET for result in row.results]
    hashes = {result.case: result.outputs_sha256 for result in results if result.outputs_sha256}
    enter(directory / REPORT_FILE, entry | {"outputs_sha256": hashes})


def recorded(directory: Path, cases: Iterable[Case]) -> dict[str, str]:
    """The hash that `engine.json` of a bundle holds for each of the cases, without those whose inputs are not the very
    ones of `vectors.npz`, under whatever name they go. Empty where there is no engine of this machine.
    """
    try:
        hashes: dict[str, str] = native_entry(directory)["outputs_sha256"]
    except NoEngineHere:
        return {}
    if not hashes:
        return {}
    inputs = {truth.case.name: truth.case.inputs for truth in read_vectors(directory / "vectors.npz")}
    same = (case.name for case in cases if case.name in inputs and _equal(case.inputs, inputs[case.name]))
    return {name: hashes[name] for name in same if name in hashes}


def differing(subject: Subject) -> tuple[int, list[str]]:
    """How many cases have a hash in the `engine.json` beside the subject's model, and those of them whose outputs are
    others when the engine runs here. UserError where it cannot.
    """
    cases = [truth.case for truth in read_vectors(subject.model_path.parent / "vectors.npz")]
    hashes = recorded(subject.model_path.parent, cases)
    if not hashes:
        native_entry(subject.model_path.parent)
        return 0, []
    found = _replayed(subject, (case for case in cases if case.name in hashes))
    return len(hashes), [name for name, value in hashes.items() if found[name] != value]


def _replayed(subject: Subject, cases: Iterable[Case]) -> dict[str, str]:
    with runtime_named(RUNTIME).open(subject) as session:
        return {case.name: outputs_sha256(session.run(case.inputs)) for case in cases}


def _equal(a: Arrays, b: Arrays) -> bool:
    return a.keys() == b.keys() and all(
        x.dtype == b[name].dtype and x.shape == b[name].shape and x.tobytes() == b[name].tobytes()
        for name, x in a.items()
    )
