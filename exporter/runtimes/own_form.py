"""What is asked of one runtime's own form of a model, such as a `.pte` or a `.vmfb`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import onnx

from temport.exporter.declare.declaration import Declaration, TensorSpec
from temport.exporter.declare.values import INTEGERS
from temport.exporter.errors import UserError
from temport.exporter.runtimes.contract import Arrays, Capabilities
from temport.exporter.runtimes.environments import Environment

Call = Callable[[list[npt.NDArray[Any]]], list[Any]]
"""Inputs in the order of the signature -> outputs in theirs."""

OF_FILE = Capabilities(
    custom_domain=False,
    functions=False,
    opsets=(7, 24),
    dtypes=frozenset({"bool", "float32", *INTEGERS}),
    dynamic_axes=False,
    intermediates=True,
)
"""What nearly every form takes: the ONNX file in float32, every size a number."""


class Tensor(NamedTuple):
    """An input or output of a form; `dtype` is a numpy name."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """What a form takes and gives, in its order. It lies beside the form, which mostly knows no names."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @classmethod
    def of_model(cls, model: onnx.ModelProto) -> Signature:
        return cls(*(tuple(map(_of_value, values)) for values in (model.graph.input, model.graph.output)))

    @classmethod
    def of_declaration(cls, declaration: Declaration) -> Signature:
        return cls(*(tuple(map(_of_spec, specs)) for specs in (declaration.inputs, declaration.outputs)))

    @classmethod
    def read(cls, path: Path) -> Signature:
        held = json.loads(path.read_text())
        return cls(*(tuple(Tensor(n, d, tuple(s)) for n, d, s in held[key]) for key in ("inputs", "outputs")))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def arranged(self, inputs: Arrays) -> list[npt.NDArray[Any]]:
        """The inputs in order, each in one piece of memory. UserError for one of another shape or type."""
        arrays = [np.ascontiguousarray(inputs[tensor.name]) for tensor in self.inputs]
        for (name, dtype, shape), array in zip(self.inputs, arrays, strict=True):
            if array.dtype != dtype or array.shape != shape:
                raise UserError(f"input {name} is {array.dtype} {array.shape}, and {dtype} {shape} is needed")
        return arrays


def in_int32(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """For runtimes of 32-bit integers: int64 as int32, all else as it is. OverflowError where it does not fit."""
    if array.dtype != np.int64:
        return array
    held = array.astype(np.int32)
    if not np.array_equal(held, array):
        raise OverflowError("this runtime computes integers in 32 bits, which do not hold the input")
    return held


class Form(Protocol):
    """One runtime's own form of a model; picklable, since `convert` and `load` are called in another process.

    name         of the row, and of the target with `-` for `_`
    environment  packages that it needs beside temport's own; None: no others
    of_module    made of a program of torch (`program.pt2`): of the module (`aten_program`), or where there is none of
                 the file (`graph_program`); else of the ONNX file (`plain_onnx`)
    """

    name: str
    capabilities: Capabilities
    of_module: bool

    @property
    def environment(self) -> Environment | None: ...

    def missing(self) -> str | None:
        """Why this machine cannot run it, packages aside, or None."""
        ...

    def version(self) -> str:
        """The library and, as the last word, its version."""
        ...

    def convert(self, source: Path, folder: Path) -> None:
        """Write the form of the model `source` into `folder`. What it raises is why the model is not taken."""
        ...

    def load(self, folder: Path, signature: Signature, threads: int) -> Call:
        """What runs the form in `folder`; nothing is written there."""
        ...


def _of_value(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return Tensor(value.name, dtype, tuple(dim.dim_value for dim in kind.shape.dim))


def _of_spec(spec: TensorSpec) -> Tensor:
    return Tensor(spec.name, spec.dtype, spec.at())
