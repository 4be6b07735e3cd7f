"""Models that nobody means: each ends in a refusal that names the node or in the right values, and no process ends."""

from __future__ import annotations

import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cases import TABLES
from hostile import Hostile, around, attributes, bases, inputs, outputs
from hostile_sizes import huge, wrapped
from one_node import native_options

from tests.first_domain import first_domain

WORKER = Path(__file__).with_name("hostile_worker.py")


def models() -> Iterator[Hostile]:
    """All kinds for the first case of every op, and for inputs that it lacks those of a case which has them."""
    for table in TABLES.values():
        first, *full = bases(table)
        for kind in (attributes, inputs, outputs, around, huge, wrapped):
            yield from kind(table, first)
        for case in full:
            own = tuple(f"{table.op.name}-{name}-" for name in first.inputs)
            yield from (h for kind in (inputs, huge) for h in kind(table, case) if not h.name.startswith(own))


def run(library: str, hostile: Sequence[Hostile], folder: Path) -> list[Any]:
    """What came of each: a refusal's text, outputs with their declared shapes, or the signal that ended the process."""
    jobs, results = folder / "jobs", folder / "results"
    jobs.write_bytes(pickle.dumps([(h.proto.SerializeToString(), dict(h.feeds)) for h in hostile]))
    came: list[Any] = []
    while len(came) < len(hostile):
        results.write_bytes(b"")
        command = [sys.executable, WORKER, library, jobs, results, str(len(came))]
        done = subprocess.run(command, capture_output=True, text=True)
        with results.open("rb") as stream:
            while stream.peek(1):
                came.append(pickle.load(stream))
        if done.returncode < 0:  # by the first that has no result
            came.append(signal.Signals(-done.returncode))
        else:
            assert done.returncode == 0, done.stderr
    return came


def fault(hostile: Hostile, came: Any) -> str | None:
    """What is wrong with what came of a model."""
    if isinstance(came, signal.Signals):
        return came.name
    if isinstance(came, str):
        return None if re.search(hostile.says, came) else came[:300]
    for name, (y, declared) in came.items():
        known = [n if isinstance(n, int) else m for n, m in zip(declared, y.shape, strict=False)]
        if hostile.told and declared and (known, len(declared)) != (list(y.shape), y.ndim):
            return f"{name} was declared {declared} and is {list(y.shape)}"
    if hostile.table is None or hostile.case is None:
        return None
    try:
        truths = hostile.table.truth(hostile.case)
    except Exception as error:  # of the definition, for whatever reason
        return f"it ran, and the definition says {type(error).__name__}: {error}"
    for name, (y, _) in came.items():
        truth = truths.get(name)
        if truth is None:
            continue
        scale = max(1.0, float(np.max(np.abs(truth), initial=0.0, where=np.isfinite(truth))))
        if y.shape != truth.shape or not np.allclose(y, truth, rtol=0, atol=1e-4 * scale, equal_nan=True):
            return f"{name} is wrong"
    return None


def test_hostile_models(tmp_path: Path) -> None:
    native_options()
    hostile = list(models())
    came = run(first_domain(), hostile, tmp_path)
    wrong = {h.name: found for h, c in zip(hostile, came, strict=True) if (found := fault(h, c))}
    assert not wrong, "\n".join(f"{name}: {found}" for name, found in wrong.items())
    refused = sum(isinstance(c, str) for c in came)
    assert refused > 500 and len(came) - refused > 100  # both happen


def test_the_end_of_a_process_is_seen(tmp_path: Path) -> None:
    source, library = tmp_path / "ops.c", tmp_path / "libops.so"
    source.write_text("#include <stdlib.h>\nvoid* RegisterCustomOps(void* o, void* b) { abort(); }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", library], check=True)
    hostile = next(models())
    assert run(str(library), [hostile, hostile], tmp_path) == [signal.SIGABRT] * 2
    assert fault(hostile, signal.SIGABRT) == "SIGABRT"
