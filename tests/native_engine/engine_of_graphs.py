"""Small graphs, many of them in one engine: what each gives there, and in ONNX's own evaluator in float64."""

from __future__ import annotations

import ctypes
import functools
import platform
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.declare.sizes import size
from temport.exporter.graph.retyped import retyped
from temport.exporter.native.build import write_engine
from temport.exporter.native.isa import ISAS

AXES = {name: Axis(name, low, opt, high) for name, low, opt, high in (("n", 1, 4, 9), ("b", 1, 2, 3))}
"""Open axes of the cases."""
SIZES = ({"n": 1, "b": 1}, {"n": 5, "b": 3}, {"n": 9, "b": 2})
OPSET = 24
SPECIAL = (
    np.nan,
    np.inf,
    -np.inf,
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.5,
    2.5,
    -2.5,
    1e-30,
    1e30,
    -1e30,
    88.9,
    -104.5,
)


@dataclass(frozen=True)
class Given:
    """An input: its axes, which are numbers and names of open ones, its type, and whole numbers from `low` to `high`.

    special  whether floats are infinite, NaN and extreme here and there
    """

    shape: tuple[int | str, ...]
    dtype: str = "float32"
    low: int = -4
    high: int = 5
    special: bool = False
    positive: bool = False

    def draw(self, rng: np.random.Generator, sizes: Mapping[str, int]) -> np.ndarray:
        shape = [d if isinstance(d, int) else size(d, sizes) for d in self.shape]
        if self.dtype == "bool":
            return rng.random(shape) < 0.5
        if self.dtype != "float32":
            return rng.integers(self.low, self.high, shape).astype(self.dtype)
        drawn = rng.standard_normal(shape).astype(np.float32) * np.float32(2)
        if self.special:
            drawn = np.where(rng.random(shape) < 0.4, rng.choice(SPECIAL, shape), drawn).astype(np.float32)
        return np.abs(drawn) + np.float32(0.1) if self.positive else drawn


@dataclass(frozen=True)
class Case:
    """One node, or the nodes of `more` behind it.

    inputs   given ones, constants, and None for those left out
    outputs  shapes, as those of `Given`; None: as shape inference has them
    wide     errors may be so many times the usual
    """

    op: str
    inputs: tuple[Given | np.ndarray | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[tuple[int | str, ...] | None, ...] = (None,)
    wide: float = 1.0

    def __str__(self) -> str:
        shapes = [getattr(i, "shape", None) for i in self.inputs]
        told = {k: v for k, v in self.attributes.items() if not isinstance(v, onnx.TensorProto)}
        return f"{self.op} {shapes} {told}"


def case(op: str, *inputs: Any, outputs: Any = 1, wide: float = 1.0, **attributes: Any) -> Case:
    """`inputs` may be tuples, which are shapes of floats. `outputs`: how many, or shapes ("": not asked for)."""
    made = tuple(Given(i) if isinstance(i, tuple) else i for i in inputs)
    return Case(op, made, attributes, (None,) * outputs if isinstance(outputs, int) else tuple(outputs), wide)


def model_of(case: Case, prefix: str) -> onnx.ModelProto:
    """The case as a model of its own, with all names behind `prefix`."""
    inputs, constants, names = [], [], []
    for i, given in enumerate(case.inputs):
        name = f"{prefix}i{i}"
        if isinstance(given, Given):
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(given.dtype))
            inputs.append(helper.make_tensor_value_info(name, kind, given.shape))
        elif given is not None:
            constants.append(numpy_helper.from_array(given, name))
        names.append("" if given is None else name)
    made = [f"{prefix}o{i}" if shape != "" else "" for i, shape in enumerate(case.outputs)]
    node = helper.make_node(case.op, names, made, f"{prefix}{case.op}", **case.attributes)
    outputs = [onnx.ValueInfoProto(name=name) for name in made if name]
    graph = helper.make_graph([node], "case", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = [shape for shape in case.outputs if shape != ""]
    for value, shape in zip(inferred.graph.output, shapes, strict=True):
        if shape is not None:
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shape))
    return inferred


def merged(models: Sequence[onnx.ModelProto]) -> onnx.ModelProto:
    whole = onnx.ModelProto()
    whole.CopyFrom(models[0])
    for model in models[1:]:
        for part in ("node", "input", "output", "initializer"):
            getattr(whole.graph, part).extend(getattr(model.graph, part))
    return whole


def declared(model: onnx.ModelProto, axes: Mapping[str, Axis]) -> Declaration:
    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        kind = value.type.tensor_type
        shape = [
            axes.get(d.dim_param, Axis(d.dim_param, 1, 1, 64)) if d.dim_param else d.dim_value
            for d in kind.shape.dim
        ]
        return TensorSpec(value.name, helper.tensor_dtype_to_np_dtype(kind.elem_type).name, tuple(shape))

    inputs, outputs = (tuple(map(spec, values)) for values in (model.graph.input, model.graph.output))
    # an axis of the declaration is one of an input; one that holds all of them makes the order sure
    every = TensorSpec("axes", "bool", tuple(axes.values()))
    return Declaration("onnx", {}, (every, *inputs), outputs, opset=OPSET)


def isa() -> str:
    """One that this machine has, and that is quick to compile for."""
    if platform.machine() == "aarch64":
        return "neon"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "avx2" if " avx2 " in flags else "portable"


class Engine:
    """A model compiled in `directory`; `level` is the compiler's optimisation."""

    def __init__(
        self,
        model: onnx.ModelProto,
        directory: Path,
        axes: Mapping[str, Axis] = AXES,
        level: str = "-O1",
        name: str = "",
    ) -> None:
        self.declaration = declared(model, axes)
        whole = onnx.ModelProto()
        whole.CopyFrom(model)
        first = self.declaration.inputs[0]
        whole.graph.input.insert(0, helper.make_tensor_value_info(first.name, TensorProto.BOOL, list(axes)))
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "model.onnx"
        onnx.save(whole, path)
        compiler = directory / "compiler"  # the last level is the one that counts
        compiler.write_text(f'#!/bin/sh\nexec c++ "$@" {level}\n')
        compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
        library = ctypes.CDLL(
            str(write_engine(path, self.declaration, directory, ISAS[name or isa()], str(compiler)))
        )
        library.temport_engine_of_this_library.restype = ctypes.POINTER(_Engine)
        self._engine = library.temport_engine_of_this_library().contents
        self._memory = np.empty(self._engine.memory_bytes + 64, np.uint8)
        self._at = self._memory.ctypes.data + -self._memory.ctypes.data % 64
        self._engine.reset(self._at)

    def run(self, inputs: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
        """All outputs; scratch memory holds NaN before, and outputs hold 77."""
        self._memory[:] = 255
        fed = [np.ascontiguousarray(inputs[spec.name]) for spec in self.declaration.inputs[1:]]
        fed.insert(0, np.zeros(1, bool))
        made = [np.full(spec.at(**sizes), 77).astype(spec.dtype) for spec in self.declaration.outputs]

        def pointers(arrays: Sequence[np.ndarray]) -> Any:
            return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))

        lengths = (ctypes.c_int64 * len(sizes))(*(sizes[name] for name in self.declaration.axes))
        assert self._engine.run(self._at, lengths, pointers(fed), pointers(made), 1) == 0
        return {spec.name: array for spec, array in zip(self.declaration.outputs, made, strict=True)}


class _Engine(ctypes.Structure):
    """The beginning of `temport_engine` in custom_ops/engine/temport_engine.h."""

    _fields_ = [
        ("abi", ctypes.c_uint32),
        *((name, ctypes.c_char_p) for name in ("temport", "model", "isa")),
        *((name, ctypes.c_size_t) for name in ("memory_bytes", "alignment", "state_bytes", "weight_bytes")),
        *((f"{name}_count", ctypes.c_uint32) for name in ("axis", "input", "output", "state")),
        *((name, ctypes.c_void_p) for name in ("axis", "input", "output", "state")),
        ("reset", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("run", ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4, ctypes.c_uint32)),
    ]


class Cases:
    """Cases in one engine."""

    def __init__(self, cases: Sequence[Case], directory: Path, name: str = "") -> None:
        self.cases = list(cases)
        self._models = [model_of(each, f"c{i}_") for i, each in enumerate(self.cases)]
        self._engine = Engine(merged(self._models), directory, name=name)

    @functools.cached_property
    def _evaluators(self) -> list[ReferenceEvaluator]:
        return [ReferenceEvaluator(retyped(model, TensorProto.DOUBLE)) for model in self._models]

    def wrong(self, sizes: Mapping[str, int], seed: int = 0) -> list[str]:
        """What the cases say that differ, one line each."""
        rng = np.random.default_rng(seed)
        feeds = [
            {f"c{n}_i{i}": g.draw(rng, sizes) for i, g in enumerate(each.inputs) if isinstance(g, Given)}
            for n, each in enumerate(self.cases)
        ]
        found = self._engine.run({name: array for feed in feeds for name, array in feed.items()}, sizes)
        lines = []
        for each, model, evaluator, feed in zip(
            self.cases, self._models, self._evaluators, feeds, strict=True
        ):
            wide = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in feed.items()}
            with np.errstate(all="ignore"):
                expected: Any = evaluator.run(None, wide)
            for value, right in zip(model.graph.output, expected, strict=True):
                error = difference(found[value.name], np.asarray(right), each.wide)
                if error:
                    lines.append(f"{each} at {dict(sizes)}: {error}")
        return lines


def difference(found: np.ndarray, right: np.ndarray, wide: float = 1.0) -> str:
    """What is wrong with `found`; empty where it is right: to 2e-6 of the largest finite number, or exactly."""
    if found.shape != right.shape:
        return f"shape {found.shape}, not {right.shape}"
    if found.dtype != np.float32:
        return "" if np.array_equal(found, right) else f"{found.ravel()[:8]}, not {right.ravel()[:8]}"
    with np.errstate(all="ignore"):
        narrow = right.astype(np.float32)
        finite = np.isfinite(narrow)
        if not np.array_equal(found[~finite], narrow[~finite], equal_nan=True):
            at = np.flatnonzero(~finite.ravel())[:8]
            return f"{found.ravel()[at]}, not {narrow.ravel()[at]}"
        error = np.abs(found[finite] - right[finite])
        bound = (
            2e-6
            * wide
            * np.maximum(np.abs(right[finite]), min(1.0, float(np.abs(right[finite]).max(initial=0))))
        )
    if not (error <= bound + 1.2e-38).all():
        at = int(np.argmax(np.where(error <= bound, 0, error)))
        return f"{found[finite].ravel()[at]}, not {right[finite].ravel()[at]}"
    return ""
