"""An engine and ONNX Runtime called from a loop in C, as programs call them: an engine's run takes less than a call of
Python. A contender is a call of one run, whose `repeat` makes many of them.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from temport.engine import Instance
from temport.exporter.bench.contest import Call
from temport.exporter.runtimes.libraries import onnxruntime_library

_SOURCE = Path(__file__).with_name("loops.c")
_WARNING, _CPU_ARENA = 2, 1
_API = 17
Feed = Mapping[str, npt.NDArray[Any]]


@cache
def _loops() -> ctypes.CDLL:
    with TemporaryDirectory(prefix="temport-loops-") as folder:
        library = Path(folder) / "loops.so"
        command = ["cc", "-O2", "-shared", "-fPIC", str(_SOURCE), "-o", str(library)]
        subprocess.run(command, check=True, capture_output=True)
        return ctypes.CDLL(str(library))


def repeating(repeat: Callable[[int], object], output: npt.NDArray[Any], *kept: object) -> Call:
    """The call of one run: `repeat(count)` makes them and writes `output`; `kept` lives as long."""

    def call() -> npt.NDArray[Any]:
        repeat(1)
        return output

    call.__dict__.update(repeat=repeat, kept=kept)
    return call


def engine_in_c(instance: Instance, feed: Feed) -> Call:
    """The first output of an instance, always the same array."""
    ready = instance.prepared(feed)
    memory, *pointers, flags = ready.arguments
    loop = _loops().engine_runs

    def repeat(count: int) -> None:
        if code := loop(ctypes.c_long(count), ready.function, ctypes.c_void_p(memory), *pointers, flags):
            raise RuntimeError(f"the engine failed with code {code}")

    return repeating(repeat, next(iter(ready.outputs.values())), ready)


class OnnxRuntime:
    """A session of one thread by the C interface of the wheel's own library, as `temport-run` opens it."""

    def __init__(self, model: Path, ops: Path | None = None) -> None:
        """ops  library of custom ops"""
        found = onnxruntime_library()
        if found is None:
            raise RuntimeError("the onnxruntime package has no library for C")
        library = ctypes.CDLL(str(found))
        library.OrtGetApiBase.restype = ctypes.POINTER(ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32))
        self._table = ctypes.cast(library.OrtGetApiBase()[0](_API), ctypes.POINTER(ctypes.c_void_p))
        self._env, options, self._session = (ctypes.c_void_p() for _ in range(3))
        self.check(3, _WARNING, b"bench", ctypes.byref(self._env))
        self.check(10, ctypes.byref(options))
        self.check(24, options, 1)
        self.check(25, options, 1)
        self.check(130, options, b"optimization.disable_specified_optimizers", b"SkipLayerNormFusion")
        if ops is not None:
            self.check(228, options, str(ops).encode())
        content = model.read_bytes()
        self.check(8, self._env, content, ctypes.c_size_t(len(content)), options, ctypes.byref(self._session))

    def bound(self, feed: Feed, model: onnx.ModelProto, in_place: Mapping[str, str]) -> Call:
        """The first output, always the same array; outputs of `in_place` (output -> input) are arrays of the feed."""
        kept = dict(feed)
        for output in model.graph.output:
            kind = output.type.tensor_type
            shape = [d.dim_value for d in kind.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
            kept[output.name] = (
                feed[in_place[output.name]] if output.name in in_place else np.empty(shape, dtype)
            )
        inputs, outputs = list(feed), [output.name for output in model.graph.output]
        reads, writes = self._values(inputs, kept), self._values(outputs, kept)
        in_names, out_names = _texts(inputs), _texts(outputs)
        in_count, out_count = ctypes.c_size_t(len(inputs)), ctypes.c_size_t(len(outputs))
        loop = _loops().onnxruntime_runs
        loop.restype = ctypes.c_void_p

        def repeat(count: int) -> None:
            status = loop(
                ctypes.c_long(count), ctypes.c_void_p(self._table[9]), self._session,
                in_names, reads, in_count, out_names, out_count, writes,
            )  # fmt: skip
            self._raise(status)

        return repeating(repeat, kept[outputs[0]], self, kept)

    def check(self, slot: int, *arguments: Any) -> None:
        """Calls the function at a slot of OrtApi (see custom_ops/native/ort_abi). RuntimeError with its status."""
        function = ctypes.CFUNCTYPE(ctypes.c_void_p)(self._table[slot])
        self._raise(function(*arguments))

    def _raise(self, status: int | None) -> None:
        if status:
            message = ctypes.CFUNCTYPE(ctypes.c_char_p)(self._table[2])
            raise RuntimeError(message(ctypes.c_void_p(status)).decode())

    def _values(self, names: list[str], arrays: Feed) -> Any:
        memory = ctypes.c_void_p()
        self.check(69, _CPU_ARENA, 0, ctypes.byref(memory))
        values = (ctypes.c_void_p * len(names))()
        for i, name in enumerate(names):
            array = arrays[name]
            shape = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            self.check(
                49, memory, ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes), shape,
                ctypes.c_size_t(array.ndim), kind, ctypes.byref(values, i * ctypes.sizeof(ctypes.c_void_p)),
            )  # fmt: skip
        return values


def _texts(names: list[str]) -> Any:
    return (ctypes.c_char_p * len(names))(*(name.encode() for name in names))
