"""Inputs of an ONNX file: as the file declares them, with ranges of the axes that it leaves open."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx
from onnx import helper

from temport.exporter.bundle.metadata import recorded_signature
from temport.exporter.declare.declaration import DYNAMIC_BATCH, DYNAMIC_SEQ, Axis, TensorSpec
from temport.exporter.declare.modules import DTYPES, read_shape
from temport.exporter.declare.sizes import names, normal
from temport.exporter.errors import UserError, did_you_mean
from temport.plugins import first_line

FUNCTIONS = ("max", "min")
"""Names that mean something else in an expression of axes."""
Range = tuple[int, int, int]
NAME = re.compile(r"[^/\\\s]+")


@dataclass
class Axes:
    """The axes of a file: those called `batch` and `seq` have their sizes from these options, others from `--axis`.

    recorded  name -> range, which a file of ours says itself
    several   more than one axis besides the batch has no range: each takes a short one, since together they multiply
    named     name in the file -> the axis, or the number that it was fixed to
    """

    batch: str | None
    seq: str | None
    given: Mapping[str, str]
    recorded: Mapping[str, Range] = field(default_factory=dict)
    several: bool = False
    named: dict[str, Axis | int] = field(default_factory=dict)

    def ranged(self, name: str) -> bool:
        """Whether somebody says which range this axis has."""
        asked = {"batch": self.batch, "seq": self.seq}.get(name, self.given.get(name))
        return name in self.recorded or (asked is not None and asked != "dynamic")

    def axis(self, name: str) -> Axis:
        """The axis of this name with its range: what was asked, else as recorded, and open otherwise."""
        short = _is_batch(name) or (self.several and name != "seq")
        usual = self.recorded.get(name, DYNAMIC_BATCH if short else DYNAMIC_SEQ)
        if name in ("batch", "seq"):
            asked = self.batch if name == "batch" else self.seq
            return Axis.parse(name, "dynamic" if asked is None else asked, usual)
        return Axis.parse(name, self.given.get(name, "dynamic"), usual, f"--axis {name}=")

    def of(self, name: str) -> Axis | int:
        """The axis that the file calls `name`, one for all inputs."""
        if name not in self.named:
            taken = {axis.name for axis in self.named.values() if isinstance(axis, Axis)}
            self.named[name] = self.axis(_identifier(name, taken))
        return self.named[name]

    def say(self, name: str, meant: Axis | int) -> None:
        """`--shape` calls this axis of the file otherwise, or fixes it."""
        if self.named.setdefault(name, meant) != meant:
            raise UserError(
                f"--shape makes the file's axis {name} {_word(meant)} and {_word(self.named[name])}; it is one axis"
            )

    def notes(self) -> tuple[str, ...]:
        """What was assumed, where that is not what one axis alone would have."""
        axes = {axis.name: axis for axis in self.named.values() if isinstance(axis, Axis)}
        short = {
            n: a
            for n, a in axes.items()
            if self.several and not (self.ranged(n) or n == "seq" or _is_batch(n))
        }
        if not short:
            return ()
        most = next(iter(short.values())).max
        example = next(iter(short))
        return (
            f"{', '.join(short)} had no range and took 1 to {most}, since several open axes multiply; "
            f"say it with --axis {example}=MIN:OPT:MAX",
        )

    def check_used(self, inputs: Sequence[TensorSpec]) -> None:
        """UserError for an option whose axis no input has."""
        used = {axis.name for spec in inputs for axis in spec.axes()}
        asked = {
            **{f"--{n}": n for n in ("batch", "seq") if getattr(self, n) is not None},
            **{f"--axis {n}": n for n in self.given},
        }
        for option, name in asked.items():
            if name not in used:
                raise UserError(f"{option} names no axis of the file; {did_you_mean(name, used)}")


def read_inputs(
    model: onnx.ModelProto, path: Path, shapes: Sequence[str], axes: Axes
) -> tuple[TensorSpec, ...]:
    """The inputs in the file's order; UserError for one that is no tensor, or where `--shape` disagrees."""
    files = {value.name: _input(value, path) for value in model.graph.input}
    axes.recorded = recorded_ranges(model, path)
    open_ones = {_identifier(dim) for _, dims in files.values() for dim in dims if isinstance(dim, str)}
    axes.several = sum(not axes.ranged(name) and not _is_batch(name) for name in open_ones) > 1
    types = {name: dtype for name, (dtype, _) in files.items()}
    said = _said(shapes, files, types, axes)
    for name, spec in said.items():
        for place, (meant, dim) in enumerate(zip(spec.shape, files[name][1], strict=True)):
            if isinstance(dim, int):
                if meant != dim and not (isinstance(meant, Axis) and meant.static and meant.opt == dim):
                    raise UserError(
                        f"--shape says that axis {place} of {name} is {_word(meant)}; it is {dim} in {path}"
                    )
            else:
                axes.say(dim, meant)
    inputs = []
    for name, (dtype, dims) in files.items():
        named = said[name].shape if name in said else (None,) * len(dims)
        shape = tuple(
            (as_said if isinstance(as_said, Axis) else dim) if isinstance(dim, int) else axes.of(dim)
            for dim, as_said in zip(dims, named, strict=True)
        )
        inputs.append(TensorSpec(name, dtype, shape, said[name].values if name in said else None))
    axes.check_used(inputs)
    return tuple(inputs)


def recorded_ranges(model: onnx.ModelProto, path: Path) -> dict[str, Range]:
    """Ranges of the axes that a file of ours declares in its own signature; none of anybody else's."""
    try:
        recorded = recorded_signature(model)
        specs = [] if recorded is None else recorded["inputs"]
        dims = [dim for spec in specs for dim in spec["shape"] if isinstance(dim, dict)]
        axes = [
            Axis(str(dim["name"]), *(operator.index(dim[end]) for end in ("min", "opt", "max")))
            for dim in dims
        ]
    except (ValueError, KeyError, TypeError, UserError) as error:
        raise UserError(
            f"{path} carries a temport.signature that says no ranges: {first_line(error)}"
        ) from error
    return {axis.name: (axis.min, axis.opt, axis.max) for axis in axes}


def expressions(model: onnx.ModelProto, axes: Axes) -> dict[tuple[int, int], str]:
    """(output, place) -> what the file itself calls the axis, where that is an expression of axes of its inputs."""
    found = {}
    for index, value in enumerate(model.graph.output):
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            try:
                expression = normal(dim.dim_param)
                used = names(expression)
            except ValueError:
                continue
            if all(isinstance(axes.named.get(name), Axis) for name in used):
                found[index, place] = re.sub(
                    r"\b[A-Za-z_]\w*\b", lambda m: getattr(axes.named.get(m[0]), "name", m[0]), expression
                )
    return found


def _input(value: onnx.ValueInfoProto, path: Path) -> tuple[str, list[int | str]]:
    """Type and dimensions of an input; an open one that has no name is called by its place."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise UserError(f"input {value.name} of {path} is no tensor with a known number of axes")
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    if dtype not in DTYPES:
        raise UserError(f"input {value.name} of {path} is {dtype}; inputs can be {', '.join(DTYPES)}")
    if not NAME.fullmatch(value.name):
        raise UserError(
            f"input {value.name!r} of {path} has a name with a slash or a space, which no bundle can hold; rename it"
        )
    return dtype, [
        dim.dim_value
        if dim.HasField("dim_value") and dim.dim_value >= 0
        else dim.dim_param or f"{value.name}_{place}"
        for place, dim in enumerate(kind.shape.dim)
    ]


def _said(
    shapes: Sequence[str],
    files: Mapping[str, tuple[str, list[int | str]]],
    types: Mapping[str, str],
    axes: Axes,
) -> dict[str, TensorSpec]:
    """What `--shape` says, by input, in agreement with the file about its name, type and number of axes."""
    open_ones = {dim for _, dims in files.values() for dim in dims if isinstance(dim, str)}
    known = {name: axes.axis(name) for name in ("batch", "seq", *axes.given)}
    known |= {
        name: axes.axis(name) for name in (_identifier(dim) for dim in sorted(open_ones)) if name not in known
    }
    found: dict[str, TensorSpec] = {}
    for text in shapes:
        spec = _read(text, known, types)
        if spec.name not in files:
            raise UserError(f"--shape {text!r}: the file has no such input; {did_you_mean(spec.name, files)}")
        dtype, dims = files[spec.name]
        if spec.dtype != dtype or len(spec.shape) != len(dims):
            raise UserError(
                f"--shape {text!r}: in the file {spec.name} is {dtype} with {len(dims)} axes "
                f"({', '.join(map(str, dims))})"
            )
        if spec.name in found:
            raise UserError(f"--shape gives {spec.name} twice")
        found[spec.name] = spec
    return found


def _read(text: str, known: Mapping[str, Axis], types: Mapping[str, str]) -> TensorSpec:
    """The same as of a module's input, with a name of the file in front, whatever signs it is made of."""
    name = next(
        (n for n in sorted(types, key=len, reverse=True) if re.match(rf"{re.escape(n)}[:\[=]", text)), None
    )
    if name is None:
        return read_shape(text, known)
    return replace(read_shape(f"input{text[len(name) :]}", known, {"input": types[name]}), name=name)


def _identifier(name: str, taken: set[str] | None = None) -> str:
    """A name for an axis that expressions can hold, none of those taken."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not found.isidentifier() or found in FUNCTIONS:
        found = f"axis_{found}"
    while taken and found in taken:
        found += "_"
    return found


def _is_batch(name: str) -> bool:
    return name.startswith("batch")


def _word(meant: Axis | int) -> str:
    return meant.name if isinstance(meant, Axis) else str(meant)
