"""Small graphs, many of them in one engine: what each gives there, and in ONNX's own evaluator in float64."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from temport import engine
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.declare.sizes import size
from temport.exporter.graph.retyped import retyped
from temport.exporter.native.engine import NativeOptions, build_native
from temport.exporter.native.isa import ISAS
from tests.native_engine.strict import strictly

AXES = {
    name: Axis(name, low, opt, high)
    for name, low, opt, high in (("n", 1, 4, 9), ("b", 1, 2, 3), ("m", 3, 5, 40))
}
"""Open axes of the cases."""
SIZES = ({"n": 1, "b": 1, "m": 3}, {"n": 5, "b": 3, "m": 17}, {"n": 9, "b": 2, "m": 40})
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
    truth    the outputs, or the only one, for the given inputs, where ONNX's evaluator has no right one
    """

    op: str
    inputs: tuple[Given | np.ndarray | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[tuple[int | str, ...] | None, ...] = (None,)
    wide: float = 1.0
    truth: Callable[..., Any] | None = None

    def __str__(self) -> str:
        shapes = [getattr(i, "shape", None) for i in self.inputs]
        told = {k: v for k, v in self.attributes.items() if not isinstance(v, onnx.TensorProto)}
        return f"{self.op} {shapes} {told}"


def case(
    op: str,
    *inputs: Any,
    outputs: Any = 1,
    wide: float = 1.0,
    truth: Callable[..., Any] | None = None,
    **attributes: Any,
) -> Case:
    """`inputs` may be tuples, which are shapes of floats. `outputs`: how many, or shapes ("": not asked for)."""
    made = tuple(Given(i) if isinstance(i, tuple) else i for i in inputs)
    shapes = (None,) * outputs if isinstance(outputs, int) else tuple(outputs)
    return Case(op, made, attributes, shapes, wide, truth)


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
        if not value.type.tensor_type.elem_type:  # of operators without inference of shapes
            value.type.CopyFrom(inferred.graph.input[0].type)
        if shape is not None:
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shape))
    return inferred


def merged(models: Sequence[onnx.ModelProto]) -> onnx.ModelProto:
    whole = onnx.ModelProto()
    whole.CopyFrom(models[0])
    for model in models[1:]:
        for part in ("node", "input", "output", "initializer", "value_info"):
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


QUICK, AS_USERS = "clang++ -O0", "g++ -O1"
"""Compilers, with their optimisation: the second is nearer to what an engine is made by, and of the tier `thorough`."""


class Small:
    """A model as an engine that was compiled in `directory` by `compiler`, with its optimisation.

    Clang without any takes a fifth of the time of GCC.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        directory: Path,
        axes: Mapping[str, Axis] = AXES,
        compiler: str = QUICK,
        isa: str | None = None,
        streaming: bool = False,
        threads: int = 1,
    ) -> None:
        declaration = replace(declared(model, axes), streaming=streaming)
        whole = onnx.ModelProto()
        whole.CopyFrom(model)
        first = declaration.inputs[0]
        whole.graph.input.insert(0, helper.make_tensor_value_info(first.name, TensorProto.BOOL, list(axes)))
        directory.mkdir(parents=True, exist_ok=True)
        onnx.save(whole, directory / "model.onnx")
        script = strictly(directory, *compiler.split())
        report = build_native(
            directory,
            "small",
            declaration,
            NativeOptions(cc=script, engine_isa=isa or quick_isa(), engine_threads=threads),
        )
        library = (directory / report.file).read_bytes()
        self._instance = engine.Engine(report.to_json(), library).instance()
        self._axes = list(axes)

    def run(self, inputs: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
        """All outputs; scratch memory holds NaN before."""
        self._instance._memory[:] = 255
        return self._instance.run({"axes": np.zeros([sizes[name] for name in self._axes], bool), **inputs})


def quick_isa() -> str:
    """The one of this machine that is compiled in the shortest time."""
    return next(name for name in ("avx2", "neon", "portable") if ISAS[name].runs_here())


class Cases:
    """Cases in one engine; what a group is given does not depend on the groups before it."""

    def __init__(self, groups: Sequence[Sequence[Case]], directory: Path, compiler: str = QUICK) -> None:
        self.groups = groups
        self.cases = [case for group in groups for case in group]
        self._models = [model_of(each, f"c{i}_") for i, each in enumerate(self.cases)]
        self._names = [[value.name for value in model.graph.input] for model in self._models]
        self._engine = Small(merged(self._models), directory, compiler=compiler)

    @functools.cached_property
    def _truths(self) -> list[Callable[..., Any]]:
        """Of every case, what gives its outputs for its inputs."""
        return [
            each.truth
            or functools.partial(
                evaluated, ReferenceEvaluator(retyped(model, TensorProto.DOUBLE)), list(names)
            )
            for each, model, names in zip(self.cases, self._models, self._names, strict=True)
        ]

    def wrong(self, sizes: Mapping[str, int], seed: int = 0) -> list[str]:
        """What the cases say that differ, one line each."""
        feeds = []
        for group in self.groups:
            rng = np.random.default_rng(seed)
            feeds += [[g.draw(rng, sizes) for g in each.inputs if isinstance(g, Given)] for each in group]
        found = self._engine.run(
            {
                n: x
                for names, feed in zip(self._names, feeds, strict=True)
                for n, x in zip(names, feed, strict=True)
            },
            sizes,
        )
        lines = []
        for each, model, truth, feed in zip(self.cases, self._models, self._truths, feeds, strict=True):
            with np.errstate(all="ignore"):
                expected = truth(*(x.astype(np.float64) if x.dtype == np.float32 else x for x in feed))
            expected = expected if isinstance(expected, list) else [expected]
            for value, right in zip(model.graph.output, expected, strict=True):
                error = difference(found[value.name], np.asarray(right), each.wide)
                if error:
                    lines.append(f"{each} at {dict(sizes)}: {error}")
        return lines


def evaluated(evaluator: ReferenceEvaluator, names: Sequence[str], *inputs: np.ndarray) -> list[Any]:
    return list(evaluator.run(None, dict(zip(names, inputs, strict=True))))


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
