"""Step graphs against the graphs of sequences that they were made of, both in float64 by ONNX's own evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from temport.exporter.declare.declaration import AFTER, BEFORE, Axis, Declaration, TensorSpec
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.streaming.open_sizes import name_open_sizes
from temport.exporter.streaming.shapes import TIME, along_time, entries
from temport.exporter.streaming.walk import StepGraph, step_graph

BATCH, SEQ = Axis("batch", 1, 2, 64), Axis(TIME, 1, 20, 40)
FRAMES = 14


def graph(
    text: str, weights: Mapping[str, np.ndarray] | None = None, least: int = 1
) -> tuple[ir.Model, Declaration]:
    """A model from ONNX's text, `f (float[batch, seq, 4] x) => (float[batch, seq, 4] y) { ... }`, opset 20."""
    parsed = onnx.parser.parse_graph(text)
    for name, array in (weights or {}).items():
        parsed.initializer.append(numpy_helper.from_array(array, name))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    model = onnx.shape_inference.infer_shapes(
        helper.make_model(parsed, opset_imports=opsets, ir_version=10), data_prop=True
    )
    seq = Axis(TIME, least, 20, 40)

    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        kind = value.type.tensor_type
        axes = {"batch": BATCH, TIME: seq}
        dims = [d.dim_param or d.dim_value for d in kind.shape.dim]
        shape = tuple(axes.get(d, Axis(d, 1, 20, 40)) if isinstance(d, str) else d for d in dims)
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
        return TensorSpec(value.name, dtype, shape)

    declaration = Declaration(
        "module",
        {},
        tuple(map(spec, model.graph.input)),
        tuple(map(spec, model.graph.output)),
        module="m.py:make",
    )
    return ir.from_proto(model), declaration


def differences(
    model: ir.Model,
    declaration: Declaration,
    made: StepGraph | None = None,
    frames: int = FRAMES,
    horizon: int = 40,
) -> dict[str, float]:
    """How far each output of a stream is from what the model gives for the frames so far, in units of its scale."""
    made = made or step_graph(model, declaration, horizon)
    name_open_sizes(model, declaration)
    whole, one = Float64Graph(ir.to_proto(model)), Float64Graph(ir.to_proto(made.model))
    rng = np.random.default_rng(0)
    batch = 3
    given = {spec.name: _drawn(rng, spec, batch, frames) for spec in declaration.inputs}
    state = {spec.name: np.zeros(spec.at(batch=batch), spec.dtype) for spec in made.states}
    worst = dict.fromkeys((spec.name for spec in declaration.outputs), 0.0)
    all_frames = whole.run(given)
    for t in range(frames):
        now = one.run({**{s.name: _part(s, given[s.name], t, t + 1) for s in declaration.inputs}, **state})
        state = {name: now[AFTER + name.removeprefix(BEFORE)] for name in state}
        prefix: dict[str, Any] | None = None
        for value, spec, begins in zip(model.graph.outputs, declaration.outputs, made.begins, strict=True):
            if t < begins:
                continue
            places = [i for i, d in enumerate(value.shape or ()) if along_time(d)]
            if places:
                rows = entries(value.shape[places[0]]) or 1
                frame = range((t - begins) * rows, (t - begins + 1) * rows) if rows > 1 else t - begins
                expected = np.take(all_frames[spec.name], frame, axis=places[0])
            else:
                prefix = prefix or whole.run(
                    {s.name: _part(s, given[s.name], 0, t + 1) for s in declaration.inputs}
                )
                expected = prefix[spec.name]
            assert now[spec.name].shape == expected.shape, (now[spec.name].shape, expected.shape)
            scale = max(float(np.abs(expected).max(initial=0)), 1e-3)
            worst[spec.name] = max(worst[spec.name], float(np.abs(now[spec.name] - expected).max()) / scale)
    assert frames > max(made.begins) + 3, "too few frames are compared"
    return worst


def axis_of_time(spec: TensorSpec) -> int | None:
    return next((i for i, d in enumerate(spec.shape) if isinstance(d, Axis) and d.name == TIME), None)


def _part(spec: TensorSpec, array: np.ndarray, start: int, stop: int) -> np.ndarray:
    axis = axis_of_time(spec)
    return array if axis is None else np.take(array, range(start, stop), axis=axis)


def _drawn(rng: np.random.Generator, spec: TensorSpec, batch: int, frames: int) -> np.ndarray:
    shape = spec.at(batch=batch, seq=frames)
    if spec.dtype.startswith("float"):
        return rng.standard_normal(shape).astype(spec.dtype)
    return rng.integers(0, 3, shape).astype(spec.dtype)


def weight(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def integers(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)
