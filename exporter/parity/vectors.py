"""Truths as plain arrays, so that a runtime without Python or torch can replay and judge itself."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from temport.exporter.errors import UserError
from temport.exporter.parity.cases import Case
from temport.exporter.parity.decided import EXACT
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.result import Bound
from temport.exporter.parity.rounding_noise import Limits, rms
from temport.exporter.runtimes.contract import Arrays

FIELDS = (
    "allowed",
    "torch_error",
    "scale",
    "conditioning",
    "allowed_rms_ratio",
    "weights",
    "allowed_weights",
)
"""Entries of a `bound` array, in order; NaN where there is none. NaN in `allowed`: the case cannot be judged.
Bundles written before 0.2 hold the first four."""
ROWS, ELEMENTS, SOURCE, UNDECIDED = ".rows", ".elements", ".source", ".undecided"
"""What else stands beside an output: `bound/<tensor>.rows` and `.elements` say what each may be off; in half precision
`output/<tensor>.source` and `bound/<tensor>.source` are those of the model before its weights were rounded;
`bound/<tensor>.undecided` is 1 where an integer or bool is decided by rounding, and a reader that does not know it is
told that the case cannot be judged.
A reader that knows only the names of the outputs does not see them."""


def to_vectors(truths: Sequence[Truth]) -> dict[str, dict[str, Arrays]]:
    """`case -> input | output | bound -> tensor name -> array`; outputs and bounds are float64."""
    return {truth.case.name: _arrays(truth) for truth in truths}


def _arrays(truth: Truth) -> dict[str, Arrays]:
    outputs = {name: output.astype(np.float64) for name, output in truth.outputs.items()}
    bounds = {name: _pack(bound) for name, bound in truth.bounds.items()}
    for name, mask in truth.undecided.items():
        bounds[name][0] = np.nan
        bounds[name + UNDECIDED] = mask.astype(np.float64)
    for name, limits in truth.limits.items():
        bounds |= {name + ROWS: limits.rows, name + ELEMENTS: limits.elements}
    if truth.source is not None:
        outputs |= {name + SOURCE: output.astype(np.float64) for name, output in truth.source.outputs.items()}
        bounds |= {name + SOURCE: _pack(bound) for name, bound in truth.source.bounds.items()}
    return {"input": truth.case.inputs, "output": outputs, "bound": bounds}


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


def _truth(name: str, kinds: dict[str, Arrays]) -> Truth:
    """Raises ValueError where not every output has a bound and every bound an output, or there is none to judge."""
    case = Case(name, name.split("-")[0], kinds["input"])
    outputs, sources = _parted(kinds["output"], SOURCE)
    bounds, source_bounds = _parted(kinds["bound"], SOURCE)
    bounds, rows = _parted(bounds, ROWS)
    bounds, elements = _parted(bounds, ELEMENTS)
    bounds, masks = _parted(bounds, UNDECIDED)
    bounds |= {tensor: _pack(EXACT) for tensor in masks}
    source = _told(case, sources, source_bounds, {}) if sources else None
    limits = {tensor: _limits(tensor, outputs, bounds, rows, elements) for tensor in rows}
    undecided = {tensor: mask.astype(bool) for tensor, mask in masks.items()}
    return replace(_told(case, outputs, bounds, limits), source=source, undecided=undecided)


def _told(case: Case, outputs: Arrays, bounds: Arrays, limits: dict[str, Limits]) -> Truth:
    if not outputs or outputs.keys() != bounds.keys():
        raise ValueError(f"{case.name} has outputs {sorted(outputs)} and bounds {sorted(bounds)}")
    return Truth(case, outputs, {tensor: _unpack(values) for tensor, values in bounds.items()}, limits)


def _limits(tensor: str, outputs: Arrays, bounds: Arrays, rows: Arrays, elements: Arrays) -> Limits:
    output, bound = outputs[tensor], _unpack(bounds[tensor])
    if rows[tensor].shape != output.shape[:-1] or elements[tensor].shape != output.shape:
        raise ValueError(f"{tensor} has the shape {output.shape} and limits of another one")
    ratio = np.inf if bound.allowed_rms_ratio is None else bound.allowed_rms_ratio
    return Limits(ratio * rms(output) if np.any(output) else np.inf, rows[tensor], elements[tensor])


def _parted(arrays: Arrays, suffix: str) -> tuple[Arrays, Arrays]:
    """The arrays without that suffix, and those with it under their names without."""
    with_it = {name.removesuffix(suffix): array for name, array in arrays.items() if name.endswith(suffix)}
    return {name: array for name, array in arrays.items() if not name.endswith(suffix)}, with_it


def _pack(bound: Bound) -> np.ndarray:
    values = (getattr(bound, name) for name in FIELDS)
    return np.array([np.nan if value is None else value for value in values])


def _unpack(values: np.ndarray) -> Bound:
    if np.any(np.isinf(values) | (values < 0)):
        raise ValueError("a bound that allows any error")
    if values.shape not in ((4,), (len(FIELDS),)):
        raise ValueError(f"a bound has {len(FIELDS)} numbers, not {values.shape}")
    numbers = {n: None if np.isnan(v) else float(v) for n, v in zip(FIELDS, values, strict=False)}
    return Bound(**numbers, judgeable=numbers["allowed"] is not None)
