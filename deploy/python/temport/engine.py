"""A native engine in this process: the C table of custom_ops/engine/temport_engine.h, by ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.compilers.targets import REPORT_FILE
from temport.exporter.declare import sizes
from temport.exporter.errors import NotForThisMachine, UserError
from temport.exporter.native.isa import ISAS, is_this_machine
from temport.exporter.version import version
from temport.huge_pages import LEAST, move_to_huge_pages

Array = npt.NDArray[Any]
ABI = 2
NONFINITE, SIZE = 6, 3
PASS_NONFINITE = 1
_NONE = "the bundle has no native engine; export with --target native"
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}


class _Axis(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("min", ctypes.c_int64), ("max", ctypes.c_int64)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("axes", ctypes.POINTER(ctypes.c_int32)),
        ("sizes", ctypes.POINTER(ctypes.c_char_p)),
    ]


_P = ctypes.c_void_p


class _Table(ctypes.Structure):
    _fields_ = [
        ("abi", ctypes.c_uint32),
        ("temport", ctypes.c_char_p),
        ("model", ctypes.c_char_p),
        ("isa", ctypes.c_char_p),
        ("memory_bytes", ctypes.c_size_t),
        ("alignment", ctypes.c_size_t),
        ("state_bytes", ctypes.c_size_t),
        ("weight_bytes", ctypes.c_size_t),
        ("axis_count", ctypes.c_uint32),
        ("input_count", ctypes.c_uint32),
        ("output_count", ctypes.c_uint32),
        ("state_count", ctypes.c_uint32),
        ("axis", ctypes.POINTER(_Axis)),
        ("input", ctypes.POINTER(_Tensor)),
        ("output", ctypes.POINTER(_Tensor)),
        ("state", ctypes.POINTER(_Tensor)),
        ("reset", ctypes.CFUNCTYPE(None, _P)),
        ("run", ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, _P, _P, ctypes.c_uint32)),
        ("load", ctypes.CFUNCTYPE(None, _P, _P, _P)),
        ("store", ctypes.CFUNCTYPE(None, _P, _P, _P)),
        ("saved_bytes", _P),
        ("save", _P),
        ("restore", _P),
        ("weights", _P),
        ("threads", ctypes.c_uint32),
        ("run_parallel", ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, _P, _P, ctypes.c_uint32, _P)),
    ]


class NoEngineHere(NotForThisMachine):
    """A bundle without an engine that this machine can run: ONNX Runtime runs it."""


class Engine:
    """A loaded engine; `instance` gives what runs. Its library stays in the process.

    inputs, outputs, states  name -> (dtype, sizes of its axes: numbers, and expressions of open axes)
    """

    @classmethod
    def beside(cls, directory: Path) -> Engine:
        """The engine of the bundle at `directory`. UserError where it has none that this machine can run."""
        entry = native_entry(directory)
        return cls(entry, (directory / entry["file"]).read_bytes())

    def __init__(self, entry: Mapping[str, Any], content: bytes) -> None:
        """entry    as `native_entry` gives it
        content  of the library

        UserError where the two do not belong together.
        """
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise UserError(f"{entry['file']} differs from engine.json; export the bundle again")
        self._library = _loaded(content, entry["file"])
        table = self._library.temport_engine_of_this_library
        table.restype = ctypes.POINTER(_Table)
        self._table = table().contents
        if self._table.abi != ABI:
            raise UserError(
                f"the engine has version {self._table.abi} of the C interface, and this is {ABI}; export it again"
            )
        if self._table.weight_bytes >= LEAST:
            move_to_huge_pages(self._table.weights, self._table.weight_bytes)
        self.isa, self.version = self._table.isa.decode(), f"temport {self._table.temport.decode()}"
        self.axes = [self._table.axis[i] for i in range(self._table.axis_count)]
        self.inputs, self.outputs, self.states = (
            {t.name.decode(): _signature(t) for t in table[:count]}
            for table, count in (
                (self._table.input, self._table.input_count),
                (self._table.output, self._table.output_count),
                (self._table.state, self._table.state_count),
            )
        )

    def instance(self, axes: Mapping[str, int] | None = None) -> Instance:
        """axes  as `Instance` takes them"""
        return Instance(self, axes)


@dataclass(frozen=True)
class Prepared:
    """A call of an engine.

    function   `run` of the C table
    arguments  of it, pointers as ctypes
    outputs    by name, which it writes
    kept       lives as long as what points to it
    """

    function: Any
    arguments: tuple[Any, ...]
    outputs: dict[str, Array]
    kept: object


class Instance:
    """Memory of its own: the state of a step model, zero at first. Used by one thread at a time."""

    def __init__(self, engine: Engine, axes: Mapping[str, int] | None = None) -> None:
        """axes  sizes of open axes of the states, their largest where they are not given"""
        self._engine, table = engine, engine._table
        memory = np.zeros(table.memory_bytes + table.alignment, np.uint8)
        begin = -memory.ctypes.data % table.alignment
        self._memory = memory[begin : begin + table.memory_bytes]
        self._axes = {axis.name.decode(): int(axis.max) for axis in engine.axes}
        self._axes |= axes or {}
        self.reset()

    def reset(self) -> None:
        """All states become zero."""
        self._engine._table.reset(self._memory.ctypes.data)

    def run(self, inputs: Mapping[str, Array], *, pass_nonfinite: bool = True) -> dict[str, Array]:
        """Outputs by name for inputs by name; of a step model one frame, whose state stays inside.

        FloatingPointError where an input holds NaN or infinity and these are not passed: the state is as it was then.
        """
        return self.bound(inputs, pass_nonfinite=pass_nonfinite)()

    def bound(
        self, inputs: Mapping[str, Array], *, pass_nonfinite: bool = True
    ) -> Callable[[], dict[str, Array]]:
        """`run` with arrays that stay: a call reads the inputs as they are then and writes the same outputs again."""
        ready = self.prepared(inputs, pass_nonfinite=pass_nonfinite)
        function, arguments, outputs = ready.function, ready.arguments, ready.outputs

        def call() -> dict[str, Array]:
            code = function(*arguments)
            if code == NONFINITE:
                raise FloatingPointError("an input holds NaN or infinity")
            if code:
                raise ValueError(f"the sizes {list(arguments[1])} are outside the ranges of the engine")
            return outputs

        call.__dict__["kept"] = ready
        return call

    def prepared(self, inputs: Mapping[str, Array], *, pass_nonfinite: bool = True) -> Prepared:
        """`bound` for who calls the engine otherwise than from Python."""
        engine, table = self._engine, self._engine._table
        arrays = [np.asarray(inputs[name], order="C") for name in engine.inputs]
        known = self._known(arrays)
        outputs = {
            name: np.empty([_size(d, known) for d in shape], dtype)
            for name, (dtype, shape) in engine.outputs.items()
        }
        flags = PASS_NONFINITE if pass_nonfinite else 0
        sizes, reads, writes = _numbers(known), _pointers(arrays), _pointers(outputs.values())
        arguments = (self._memory.ctypes.data, sizes, reads, writes, flags)
        return Prepared(table.run, arguments, outputs, (self._memory, arrays))

    def load(self, states: Mapping[str, Array], known: Mapping[str, int]) -> None:
        """Takes the states of a step model from dense tensors; `known` are the sizes of the axes."""
        arrays = [np.asarray(states[name], order="C") for name in self._engine.states]
        self._engine._table.load(self._memory.ctypes.data, _numbers(known), _pointers(arrays))

    def store(self, known: Mapping[str, int]) -> dict[str, Array]:
        """The states of a step model as dense tensors."""
        states = {
            name: np.empty([_size(d, known) for d in shape], dtype)
            for name, (dtype, shape) in self._engine.states.items()
        }
        self._engine._table.store(self._memory.ctypes.data, _numbers(known), _pointers(states.values()))
        return states

    @property
    def state(self) -> dict[str, Array]:
        """The states, as `Stream` reads and writes them."""
        return self.store(self._axes)

    @state.setter
    def state(self, states: Mapping[str, Array]) -> None:
        self.load(states, self._axes)

    def _known(self, arrays: Sequence[Array]) -> dict[str, int]:
        """The size of every axis, by the inputs' shapes."""
        found = {axis.name.decode(): int(axis.max) for axis in self._engine.axes}
        for array, (_, shape) in zip(arrays, self._engine.inputs.values(), strict=True):
            found |= {str(d): size for d, size in zip(shape, array.shape, strict=True) if d in found}
        return found


def native_entry(directory: Path) -> dict[str, Any]:
    """The native engine's entry of `engine.json`; UserError where there is none that this machine can run."""
    report, model = directory / REPORT_FILE, directory / "model.onnx"
    if not report.is_file():
        raise NoEngineHere(_NONE)
    return checked_entry(report.read_bytes(), hashlib.sha256(model.read_bytes()).hexdigest())


def checked_entry(report: bytes, model_sha256: str) -> dict[str, Any]:
    """The native engine's entry of an `engine.json`. NoEngineHere where there is none that this machine can run, and
    another UserError where it is for another model or version, so that something is wrong.
    """
    entry = next((dict(e) for e in json.loads(report)["engines"] if e["target"] == "native"), None)
    if entry is None:
        raise NoEngineHere(_NONE)
    if not entry["file"]:
        raise NoEngineHere(
            "the bundle has the source of a native engine only; build it, or export without --source-only"
        )
    if not runs_here(entry):
        raise NoEngineHere(
            f"the native engine is for {entry['machine']} with {entry['isa']}, which this {platform.machine()} is not"
        )
    if entry["versions"]["temport"] != version():
        raise UserError(
            f"the native engine was written by temport {entry['versions']['temport']}, and this is {version()}; "
            "export it again"
        )
    if entry["model_sha256"] != model_sha256:
        raise UserError(
            "the native engine was made from another model.onnx than the one beside it; export it again"
        )
    return entry


def runs_here(entry: Mapping[str, Any]) -> bool:
    """Whether this machine can run the engine of an entry: `portable` code too is code of one machine."""
    isa = ISAS.get(entry["isa"])
    return isa is not None and isa.runs_here() and is_this_machine(entry["machine"])


def _loaded(content: bytes, name: str) -> ctypes.CDLL:
    """A library from the very bytes that were hashed: the file could be another one by now. Its descriptor stays open,
    since the loader takes one path for one library, and this path would come back.
    """
    if not sys.platform.startswith("linux"):
        raise UserError(f"{name} is loaded on Linux only")
    descriptor = os.memfd_create(Path(name).name, os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(content)
    try:
        return ctypes.CDLL(f"/proc/self/fd/{descriptor}", mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        os.close(descriptor)
        raise UserError(f"{name} cannot be loaded: {error}") from error


def _signature(tensor: _Tensor) -> tuple[np.dtype[Any], tuple[int | str, ...]]:
    sizes = (tensor.sizes[i] for i in range(tensor.rank))
    shape = tuple(tensor.shape[i] if size is None else size.decode() for i, size in enumerate(sizes))
    return np.dtype(_DTYPES[tensor.dtype]), shape


def _size(size: int | str, known: Mapping[str, int]) -> int:
    return size if isinstance(size, int) else sizes.size(size, known)


def _numbers(known: Mapping[str, int]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * max(len(known), 1))(*known.values())


def _pointers(arrays: Any) -> ctypes.Array[ctypes.c_void_p]:
    addresses = [array.ctypes.data for array in arrays]
    return (ctypes.c_void_p * max(len(addresses), 1))(*addresses)
