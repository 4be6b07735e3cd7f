"""Truths as plain arrays, so that a runtime without Python or torch can replay and judge itself."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from temport.exporter.errors import UserError
from temport.exporter.parity.cases import Case
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.result import Bound
from temport.exporter.runtimes.contract import Arrays

FIELDS = ("allowed", "torch_error", "scale", "conditioning")
"""Entries of a `bound` array, in order; NaN where there is none. NaN in `allowed`: the case cannot be judged."""


def to_vectors(truths: Sequence[Truth]) -> dict[str, dict[str, Arrays]]:
    """`case -> input | output | bound -> tensor name -> array`; outputs and bounds are float64."""
    return {
        truth.case.name: {
            "input": truth.case.inputs,
            "output": truth.outputs,
            "bound": {name: _pack(bound) for name, bound in truth.bounds.items()},
        }
        for truth in truths
    }


def read_vectors(path: Path) -> tuple[Truth, ...]:
    """The truths recorded in a bundle's `vectors.npz` (keys `case/input|output|bound/tensor`)."""
    cases: dict[str, dict[str, Arrays]] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for key in archive.files:
                case, kind, tensor = key.split("/")
                cases.setdefault(case, {"input": {}, "output": {}, "bound": {}})[kind][tensor] = archive[key]
        return tuple(_truth(case, kinds) for case, kinds in cases.items())
    except (OSError, EOFError, TypeError, ValueError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no recorded vectors file; export the bundle again") from error


def _truth(case: str, kinds: dict[str, Arrays]) -> Truth:
    """Raises ValueError where not every output has a bound and every bound an output, or there is none to judge."""
    if not kinds["output"] or kinds["output"].keys() != kinds["bound"].keys():
        raise ValueError(f"{case} has outputs {sorted(kinds['output'])} and bounds {sorted(kinds['bound'])}")
    bounds = {tensor: _unpack(values) for tensor, values in kinds["bound"].items()}
    return Truth(Case(case, case.split("-")[0], kinds["input"]), kinds["output"], bounds)


def _pack(bound: Bound) -> np.ndarray:
    values = (getattr(bound, name) for name in FIELDS)
    return np.array([np.nan if value is None else value for value in values])


def _unpack(values: np.ndarray) -> Bound:
    numbers = (None if np.isnan(value) else float(value) for value in values)
    allowed, torch_error, scale, conditioning = numbers
    return Bound(scale, torch_error, allowed, conditioning, judgeable=allowed is not None)
