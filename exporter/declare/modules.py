"""A torch module of the user's own: `--module FILE.py:FACTORY` and `--shape` to a `Declaration`."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from temport.exporter.declare.construct import output_specs, seeded
from temport.exporter.declare.declaration import DYNAMIC_BATCH, DYNAMIC_SEQ, Axis, Declaration, TensorSpec
from temport.exporter.errors import UserError, users_code


def declare_module(
    source: str,
    shapes: Sequence[str],
    *,
    batch: str = "1",
    seq: str = "60",
    opset: int = 20,
    ops: str = "custom",
    seed: int = 0,
) -> tuple[Declaration, nn.Module]:
    """Declaration and module of a user's own factory, `path.py:factory`.

    `shapes` are `name=batch,seq,24` (float32) or `name:bool=batch,1,1,seq`, in the order of `forward`.
    """
    return declare_factory(load_factory(source), source, shapes, batch, seq, opset=opset, ops=ops, seed=seed)


def declare_factory(
    make: Callable[[], nn.Module],
    source: str,
    shapes: Sequence[str],
    batch: str = "1",
    seq: str = "60",
    *,
    opset: int = 20,
    ops: str = "custom",
    seed: int = 0,
) -> tuple[Declaration, nn.Module]:
    """The same of a factory at hand, which `source` names."""
    axes = {
        "batch": Axis.parse("batch", batch, DYNAMIC_BATCH),
        "seq": Axis.parse("seq", seq, DYNAMIC_SEQ),
    }
    if not shapes:
        raise UserError(
            "--module needs the inputs of forward, for example --shape state_sequence=batch,seq,24"
        )
    inputs = tuple(_shape(text, axes) for text in shapes)
    with users_code(f"{source} makes no module"):
        module, told = seeded(make, seed)
    declaration = Declaration(
        "module",
        {},
        inputs,
        output_specs(module, inputs),
        opset=opset,
        ops=ops,
        seed=seed,
        module=source,
        notes=told,
    )
    return declaration, module


def load_factory(source: str) -> Any:
    """The callable named by `path.py:factory`."""
    path, colon, name = source.rpartition(":")
    if not colon or not Path(path).is_file():
        raise UserError(f"--module {source!r} is not FILE.py:FACTORY with an existing file")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file; --module wants FILE.py:FACTORY")
    loaded = importlib.util.module_from_spec(spec)
    with users_code(f"{path} cannot be loaded"):
        try:
            spec.loader.exec_module(loaded)
        except SyntaxError as error:
            raise UserError(f"{path} is not valid Python: {error}") from error
    if not callable(getattr(loaded, name, None)):
        raise UserError(f"{path} has no callable {name!r}")
    return getattr(loaded, name)


def _shape(text: str, axes: dict[str, Axis]) -> TensorSpec:
    match = re.fullmatch(r"(\w+)(?::(\w+))?=([\w,]+)", text)
    if match is None:
        raise UserError(f"--shape {text!r} is not NAME=axis,axis,... such as state_sequence=batch,seq,24")
    name, dtype, dims = match.group(1), match.group(2) or "float32", match.group(3).split(",")
    for dim in dims:
        if not dim.isdigit() and dim not in axes:
            raise UserError(f"--shape {text!r}: {dim!r} is neither a number nor one of {', '.join(axes)}")
    return TensorSpec(name, dtype, tuple(int(d) if d.isdigit() else axes[d] for d in dims))
