"""A user's own input file as a case: .npz, .npy or .csv, refused with one sentence where it does not fit."""

from __future__ import annotations

import csv
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.declare.declaration import Declaration, TensorSpec
from temport.exporter.errors import UserError
from temport.exporter.parity.cases import FLOATS, Case

Array = npt.NDArray[Any]


def read_case(path: Path, declaration: Declaration) -> Case:
    """The case in `path`.

    .npz  one array per input, under the inputs' names
    .npy  the only input of the model
    .csv  the only input, as one sequence: a row per time step, a column per feature, a header row allowed
    """
    readers = {".npz": _read_npz, ".npy": _read_npy, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path.name} is no .npz, .npy or .csv file")
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    try:
        arrays = readers[path.suffix.lower()](path, declaration)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError, ValueError) as error:
        if "pickle" in str(error) and not _holds_objects(path):
            raise UserError(f"{path.name} is called {path.suffix} and is no such file") from error
        if "pickle" in str(error):
            raise UserError(
                f"{path.name} holds pickled objects, which are never loaded; save plain numbers"
            ) from error
        raise UserError(
            f"{path.name} cannot be read: {str(error).splitlines()[0] if str(error) else 'truncated'}"
        ) from error
    specs = {spec.name: spec for spec in declaration.inputs}
    if sorted(arrays) != sorted(specs):
        raise UserError(f"{path.name} holds {_list(arrays)}; the model's inputs are {_list(specs)}")
    inputs = {name: _fit(path, specs[name], array) for name, array in arrays.items()}
    _agree(path, declaration, inputs)
    return Case(f"real-{path.stem}", "real", {name: inputs[name] for name in specs})


def _holds_objects(path: Path) -> bool:
    """Whether it is a file of numpy or a pickle: numpy takes whatever else it is given for pickled objects."""
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x93NUMPY", b"PK", b"\x80"))


def _read_npz(path: Path, declaration: Declaration) -> dict[str, Array]:
    archive = np.load(path, allow_pickle=False)
    if isinstance(archive, np.ndarray):
        raise UserError(f"{path.name} holds one bare array; name it .npy")
    with archive:
        return {name: archive[name] for name in archive.files}


def _read_npy(path: Path, declaration: Declaration) -> dict[str, Array]:
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path.name} is an archive; name it .npz")
    return {_only_input(path, declaration).name: array}


def _read_csv(path: Path, declaration: Declaration) -> dict[str, Array]:
    spec = _only_input(path, declaration)
    if len(spec.shape) != 3:
        raise UserError(
            f"a csv holds one sequence [time, feature]; input {spec.name} has {len(spec.shape)} axes"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path.name} is no csv text: {error}") from error
    if rows and not any(map(_is_number, rows[0][1])):
        rows = rows[1:]
    if not rows:
        raise UserError(f"{path.name} has no rows of numbers")
    width = len(rows[0][1])
    for number, row in rows:
        if len(row) != width:
            raise UserError(f"{path.name} line {number} has {len(row)} columns, the lines above have {width}")
        for text in row:
            if not _is_number(text):
                raise UserError(f"{path.name} line {number}: {text.strip()!r} is no number")
    return {spec.name: np.array([[float(text) for text in row] for _, row in rows])[None]}


def _only_input(path: Path, declaration: Declaration) -> TensorSpec:
    if len(declaration.inputs) != 1:
        names = ", ".join(spec.name for spec in declaration.inputs)
        raise UserError(
            f"{path.name} can hold one input and the model has {names}; give an .npz with these names"
        )
    return declaration.inputs[0]


def _fit(path: Path, spec: TensorSpec, array: Array) -> Array:
    """`array` in the declared type and shape, finite; numbers are converted, nothing is reshaped."""
    wanted = " x ".join(str(d) for d in spec.shape)
    fits = array.ndim == len(spec.shape) and all(
        size == d if isinstance(d, int) else d.min <= size <= d.max
        for size, d in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        shape = " x ".join(map(str, array.shape))
        raise UserError(f"{path.name}: {spec.name} is {shape or 'a scalar'}; the model takes {wanted}")
    if (array.dtype == bool) != (spec.dtype == "bool") or array.dtype.kind not in "biuf":
        raise UserError(f"{path.name}: {spec.name} holds {array.dtype}; the model takes {spec.dtype}")
    if spec.dtype not in FLOATS:
        return array.astype(spec.dtype, order="C")
    with np.errstate(over="ignore"):
        converted = array.astype(spec.dtype, order="C")
    bad = np.argwhere(~np.isfinite(converted.astype(np.float64)))
    if bad.size:
        place = list(map(int, bad[0]))
        raise UserError(
            f"{path.name}: {spec.name}{place} is {array[tuple(place)]}; every value has to be a finite {spec.dtype}"
        )
    return converted


def _agree(path: Path, declaration: Declaration, inputs: dict[str, Array]) -> None:
    """An axis that several inputs share has one size."""
    sizes: dict[str, tuple[str, int]] = {}
    for spec in declaration.inputs:
        for dim, size in zip(spec.shape, inputs[spec.name].shape, strict=True):
            if isinstance(dim, int):
                continue
            first, known = sizes.setdefault(dim.name, (spec.name, size))
            if known != size:
                raise UserError(f"{path.name}: {dim.name} is {known} in {first} and {size} in {spec.name}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _list(names: dict[str, Any]) -> str:
    return ", ".join(names) if names else "nothing"
