"""Weights in fewer bits, held to the definition of DequantizeLinear and to what any quantiser owes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from temport.exporter.graph.quantised import BLOCKS, Quantised, found_again, quantised

LARGEST = {"int8": 127, "int4": 7, "fp8": 448, "float8_e4m3fn": 448}
E4M3 = np.array(
    [(1 + m / 8) * 2.0**e for e in range(-6, 9) for m in range(8)][:-1] + [m * 2.0**-9 for m in range(8)]
)
"""What fp8 holds from 0 on, by its definition: 480 would be NaN."""
Array = npt.NDArray[np.float32]


@st.composite
def weights(draw: st.DrawFn) -> tuple[Array, int, str]:
    """A weight of two or three axes, that of its inputs, and a type."""
    kind = draw(st.sampled_from(["int8", "int4", "fp8", "fp16"]))
    inputs = BLOCKS[-1] * draw(st.integers(1, 6)) if kind == "int4" else draw(st.integers(2, 70))
    shape = [draw(st.integers(1, 5)) for _ in range(draw(st.integers(1, 2)))]
    axis = draw(st.integers(0, len(shape)))
    shape.insert(axis, inputs)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weight = rng.standard_normal(shape) * 10.0 ** draw(st.integers(-4, 3))
    weight[rng.random(shape) < draw(st.sampled_from([0.0, 0.5, 1.0]))] = 0
    return weight.astype(np.float32), axis, kind


def by_onnx(found: Quantised) -> Array:
    """What ONNX's own evaluator makes of it."""
    if found.scale is None:
        return found.values.astype(np.float32)
    block = {"block_size": found.block} if found.block else {}
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["y"], axis=found.axis, **block)
    kind = helper.np_dtype_to_tensor_dtype(found.values.dtype)
    graph = helper.make_graph(
        [node],
        "one",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            helper.make_tensor(
                "q", kind, found.values.shape, found.values.astype(np.float32).ravel().tolist()
            ),
            numpy_helper.from_array(found.scale, "s"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    (result,) = ReferenceEvaluator(model).run(None, {})
    return np.asarray(result)


@given(weights())
@settings(max_examples=60, deadline=None)
def test_what_is_stored_is_the_weight_to_the_last_bit(drawn: tuple[Array, int, str]) -> None:
    weight, axis, kind = drawn
    stored = quantised(weight, axis, kind)
    found = found_again(stored, [axis], kind)
    assert found is not None
    assert np.array_equal(by_onnx(found), stored) and np.array_equal(found.numbers(), stored)
    if found.scale is not None:  # in float64 the product is the same number: nothing was rounded
        exact = Quantised(found.values, found.scale.astype(np.float64), found.axis, found.block).numbers()
        assert np.array_equal(exact, stored.astype(np.float64))
        assert np.abs(found.values.astype(float)).max() <= LARGEST[found.values.dtype.name]


def nearest(numbers: Array, kind: str) -> Array:
    """The number of the type with the least distance."""
    if kind != "fp8":
        return np.rint(numbers)
    sizes = E4M3[np.abs(np.abs(numbers)[..., None] - E4M3).argmin(-1)]
    return np.copysign(sizes, numbers)


@given(weights())
@settings(max_examples=40, deadline=None)
def test_no_number_moves_further_than_rounding_and_clipping(drawn: tuple[Array, int, str]) -> None:
    """By block the error is no more than that of plain rounding to the largest number."""
    weight, axis, kind = drawn
    stored = quantised(weight, axis, kind)
    if kind == "fp16":
        assert np.array_equal(stored, weight.astype(np.float16).astype(np.float32))
        return
    block = (
        next(b for b in (64, 32, 16) if weight.shape[axis] % b == 0) if kind == "int4" else weight.shape[axis]
    )
    blocks, moved = (np.moveaxis(w, axis, -1).reshape(-1, block).astype(float) for w in (weight, stored))
    step = np.abs(blocks).max(-1, keepdims=True) / LARGEST[kind]
    plain = nearest(blocks / np.where(step, step, 1), kind) * step
    error, allowed = (np.linalg.norm(w - blocks, axis=-1) for w in (moved, plain))
    bits = 11 if kind == "int4" else 16  # of a scale
    short = 2.0**-bits * np.linalg.norm(blocks, axis=-1)
    assert (error <= allowed + short).all()


@given(weights(), st.data())
@settings(max_examples=30, deadline=None)
def test_it_is_found_however_a_weight_was_turned_cut_and_joined(
    drawn: tuple[Array, int, str], data: st.DataObject
) -> None:
    weight, axis, kind = drawn
    stored = quantised(weight, axis, kind)
    other = data.draw(st.sampled_from([a for a in range(weight.ndim) if a != axis]))
    joined = np.concatenate([stored, np.flip(stored, other)], other)
    cut = joined.take(range(1, joined.shape[other]), other)
    turned = np.swapaxes(cut, axis, other)
    found = found_again(turned, [axis, other], kind)
    assert found is not None and np.array_equal(found.numbers(), turned)


def test_a_weight_that_nobody_quantised_is_not_found() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    assert all(found_again(weight, [0, 1], kind) is None for kind in ("int4", "int8", "fp16"))


def test_one_bit_more_in_one_number_is_seen() -> None:
    stored = quantised(np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32), 0, "int8")
    stored[5, 7] = np.nextafter(stored[5, 7], np.float32(np.inf))
    assert found_again(stored, [0, 1], "int8") is None


def test_what_float16_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="7e\\+04, which float16"):
        quantised(np.full((4, 4), 7e4, np.float32), 0, "fp16")
