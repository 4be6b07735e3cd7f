"""Layers whose weights take fewer bits, against the same layers with the numbers that these mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from case import Case, OpCases
from cases import TABLES
from one_node import (
    NODE,
    body_of,
    in_reference_evaluator,
    model,
    native_options,
    run_session,
    session,
    session_options,
)

from temport.custom_ops.stored_weight import scaled_axis
from temport.exporter.runtimes.onnxruntime_cpu import CONFIG

Array = npt.NDArray[Any]
BLOCK = 32


def integers(shape: Sequence[int], largest: int) -> Array:
    rng = np.random.default_rng(sum(shape))
    return rng.integers(-largest, largest + 1, shape)


def stored(shape: tuple[int, ...], outputs: int, how: str) -> tuple[Array, Array | None, Array]:
    """A weight as it is stored, its scales, and its numbers, made here by hand."""
    rng = np.random.default_rng(len(shape) + sum(shape))
    inputs = shape[outputs - 1] if outputs == len(shape) - 1 else shape[outputs + 1]
    factor = 1 / inputs**0.5
    if how == "fp16":
        half = (rng.standard_normal(shape) * factor).astype(np.float16)
        return half, None, half.astype(np.float32)
    if how == "int8":
        values, scale = integers(shape, 127), (rng.random(shape[outputs]) * factor / 60).astype(np.float32)
        spread = scale.reshape([-1 if axis == outputs else 1 for axis in range(len(shape))])
        return values.astype(np.int8), scale, (values * spread).astype(np.float32)
    axis = outputs - 1 if outputs == len(shape) - 1 else outputs + 1  # of the inputs
    parts = [n // BLOCK if i == axis else n for i, n in enumerate(shape)]
    largest, kind = (7, ml_dtypes.int4) if how == "int4" else (127, np.int8)
    values, scale = integers(shape, largest), (rng.random(parts) * factor / largest * 2).astype(np.float32)
    spread = np.repeat(scale, BLOCK, axis)
    return values.astype(kind), scale, (values * spread).astype(np.float32)


def cases(op: str, how: str) -> tuple[OpCases, Case, Case]:
    """A node with stored weights, and the same with numbers."""
    table, random = TABLES[op], np.random.default_rng(0)
    if op == "FusedDense":
        shapes: dict[str, tuple[int, ...]] = {
            "X": (7, 64),
            "W": (64, 37),
            "B": (37,),
            "M": (7, 37),
            "R": (7, 37),
        }
        attributes: dict[str, Any] = {"activation": "silu", "groups": 1}
    else:
        gates = {"FusedLSTM": 4, "FusedGRU": 3}[op]
        shapes = {
            "X": (5, 3, 64),
            "W": (1, gates * 96, 64),
            "R": (1, gates * 96, 96),
            "B": (1, 2 * gates * 96),
        }
        shapes |= {f"initial_{state}": (1, 3, 96) for state in "hc"[: gates - 2]}
        attributes = {"hidden_size": 96}
    numbers = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    made = dict(numbers)
    for name in ("W", "R") if op != "FusedDense" else ("W",):
        made[name], scale, numbers[name] = stored(shapes[name], 1, how)
        if scale is not None:
            made[f"{name}_scale"] = scale
    ordered = {name: made[name] for name in table.inputs if name in made}
    return table, Case(ordered, attributes), Case(numbers, attributes)


def in_file(proto: onnx.ModelProto, case: Case) -> onnx.ModelProto:
    """int4 has no numpy type that a session takes: weights are constants, as in every file."""
    held = [name for name in case.inputs if name != "X"]
    keep = [value for value in proto.graph.input if value.name not in held]
    del proto.graph.input[:]
    proto.graph.input.extend(keep)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(ir.to_proto(ir.tensor(case.inputs[name], name=name)) for name in held)
    return proto


def alone(case: Case) -> Case:
    return replace(case, inputs={"X": case.inputs["X"]})


def graph(table: OpCases, case: Case) -> onnx.ModelProto:
    as_bytes = {n: x.astype(np.int8) if x.dtype == ml_dtypes.int4 else x for n, x in case.inputs.items()}
    return in_file(model(table, replace(case, inputs=as_bytes), opset=21), case)


def as_the_file_says() -> onnxruntime.SessionOptions:
    settings = session_options()
    for key, value in CONFIG.items():
        settings.add_session_config_entry(key, value)
    return settings


OPS = ("FusedDense", "FusedLSTM", "FusedGRU")
HOWS = ("fp16", "int8", "int8 blocks", "int4")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("op", OPS)
def test_the_kernel_and_the_body_are_the_layer_with_these_numbers(op: str, how: str) -> None:
    table, case, numbers = cases(op, how)
    proto = graph(table, case)
    with_body = onnx.ModelProto()
    with_body.CopyFrom(proto)
    with_body.functions.append(body_of(table, proto).function)
    exact = table.truth(case)
    for name, truth in table.truth(numbers).items():  # of numbers that were rounded to float32 here
        np.testing.assert_allclose(exact[name], truth, rtol=1e-4, atol=1e-5)
    ways = {
        "native": run_session(session(proto, native_options()), alone(case)),
        "body": run_session(session(with_body, as_the_file_says()), alone(case)),
        "evaluator": in_reference_evaluator(with_body, alone(case)),
    }
    for way, got in ways.items():
        excess = table.excess(got, numbers, "float32", 2 * table.roundings)
        assert all(times <= 1 for times in excess.values()), (way, excess)


@pytest.mark.parametrize("how", ("fp16", "int8 blocks"))
def test_a_row_is_the_same_alone(how: str) -> None:
    """To the last bit: streams and windows share a file. Integers meet one row in another way, see `in_digits`."""
    table, case, _ = cases("FusedDense", how)
    whole = run_session(session(graph(table, case), native_options()), alone(case))["Y"]
    for row in (0, 6):
        inputs = {n: x[row : row + 1] if n in "XMR" else x for n, x in case.inputs.items()}
        one = replace(case, inputs=inputs)
        got = run_session(session(graph(table, one), native_options()), alone(one))["Y"]
        np.testing.assert_array_equal(got[0], whole[row])


@pytest.mark.parametrize("inputs", [1, 2, 3, 4, 65, 67])
def test_sums_of_whole_numbers_are_exact(inputs: int) -> None:
    """Whatever is left of the four inputs that lie together, in a window and in one row: float32 holds every sum."""
    for rows in (1, 9):
        x, w = integers((rows, inputs), 99), integers((inputs, 75), 127)
        given = {"X": x.astype(np.float32), "W": w.astype(np.int8), "B": np.zeros(75, np.float32)}
        made = Case(given | {"W_scale": np.full(75, 0.5, np.float32)}, {})
        got = run_session(session(graph(TABLES["FusedDense"], made), native_options()), alone(made))["Y"]
        np.testing.assert_array_equal(got, x @ w / 2)


def spoiled(change: Callable[[dict[str, Array]], None], how: str = "int8") -> onnx.ModelProto:
    table, case, _ = cases("FusedDense", how)
    inputs = dict(case.inputs)
    change(inputs)
    return graph(table, replace(case, inputs={n: inputs[n] for n in table.inputs if n in inputs}))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda i: i.pop("W_scale"), "W is of integers, and their scales are missing"),
        (lambda i: i.update(W_scale=i["W_scale"][:-1]), "the scales of W have shape"),
        (lambda i: i.update(W_scale=np.ones((3, 36), np.float32)), "the scales of W have shape"),
        (lambda i: i.update(W=i["W"].astype(np.float32)), "W is of floats, which have no scales"),
        (
            lambda i: i.update(W=i["W"].astype(np.int32)),
            "W has element type 6; it must be float32, float16, int8",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change: Callable[[dict[str, Array]], None], told: str) -> None:
    with pytest.raises(Exception, match=told) as refused:
        session(spoiled(change), native_options())
    assert NODE in str(refused.value)


def test_a_weight_without_axes_is_refused() -> None:
    table, case, _ = cases("FusedGRU", "int8")
    scalars = {"R": np.array(1, np.int8), "R_scale": np.array(1, np.float32)}
    with pytest.raises(Exception, match="the scales of R have shape"):
        session(graph(table, replace(case, inputs=case.inputs | scalars)), native_options())


@pytest.mark.parametrize(
    ("weight", "scale", "found"),
    [
        ((8, 6), (6,), (1, 0)),
        ((64, 6), (2, 6), (0, 32)),
        ((3, 8, 6), (3, 1, 6), (1, 8)),
        ((8, 6), (8, 1), (1, 6)),
    ],
)
def test_where_scales_lie(weight: tuple[int, ...], scale: tuple[int, ...], found: tuple[int, int]) -> None:
    assert scaled_axis(weight, scale, len(weight) - 1) == found


@pytest.mark.parametrize("scale", [(5,), (3, 6), (8, 6, 1), (9, 6), (8, 2, 1)])
def test_scales_that_lie_nowhere(scale: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit a weight"):
        scaled_axis((8, 6), scale, 1)
