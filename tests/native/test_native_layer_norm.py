"""ResidualLayerNorm: definition and native kernel say the same, as exactly as torch does; what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_sessions import Array
from one_layer import EPS, run, tensors
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument

from temport.custom_ops.table import OPS

OP = "ResidualLayerNorm"


def drawn(leading: tuple[int, ...], width: int, mean: float, addend: bool) -> list[Array | None]:
    """X, Scale, B and R; rows lie around `mean`, and every row has a deviation of its own."""
    x, deviation, scale, b, r = tensors(
        width, (*leading, width), (*leading, 1), (width,), (width,), (*leading, width)
    )
    return [x * deviation + np.float32(mean), scale, b, r if addend else None]


def compare(inputs: list[Array | None], epsilon: float, constants: bool = True, threads: int = 1) -> None:
    """At most twice torch's error, and eight units in the last place of the largest output."""
    truth = OPS[OP].reference(inputs, {"epsilon": epsilon})
    assert isinstance(truth, np.ndarray)
    y = run(OP, inputs, {"epsilon": epsilon}, constants, threads=threads)[0]
    assert y.shape == truth.shape
    x, scale, b, r = (None if v is None else torch.from_numpy(v) for v in inputs)
    assert x is not None
    total = x if r is None else x + r
    peer = (
        torch.nn.functional.layer_norm(total, total.shape[-1:], scale, b, epsilon).numpy()
        if x.numel()
        else truth
    )
    allowed = 2 * np.abs(peer - truth).max(initial=0) + 8 * EPS * np.abs(truth).max(initial=0)
    assert np.abs(y - truth).max(initial=0) <= allowed


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(0, 70),
    width=st.one_of(st.integers(1, 70), st.integers(71, 3000)),
    mean=st.sampled_from([0.0, 1.0, -100.0, 1e4]),
    addend=st.booleans(),
    constants=st.booleans(),
    threads=st.integers(1, 2),
)
def test_rows(rows: int, width: int, mean: float, addend: bool, constants: bool, threads: int) -> None:
    compare(drawn((rows,), width, mean, addend), 1e-5, constants, threads)


@pytest.mark.parametrize("leading", [(), (2, 17), (3, 1, 5), (2, 0, 4)], ids=str)
def test_any_number_of_axes(leading: tuple[int, ...]) -> None:
    compare(drawn(leading, 19, 1.0, addend=True), 1e-3)


def test_no_row_touches_another() -> None:
    """A row of NaN and one that overflows among four that are computed together."""
    inputs = drawn((6,), 21, 0.0, addend=False)
    alone = run(OP, inputs, {"epsilon": 1e-5})[0]
    assert inputs[0] is not None
    inputs[0][1, 20], inputs[0][2, 3] = np.nan, np.inf
    y = run(OP, inputs, {"epsilon": 1e-5})[0]
    assert np.isnan(y[1:3]).all()
    np.testing.assert_array_equal(y[[0, 3, 4, 5]], alone[[0, 3, 4, 5]])


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ([(2, 3), (4,), (3,)], r"'layer_7': Scale has shape \[4\]; it must be \[3\]"),
        ([(2, 3), (3,), (1,)], r"B has shape \[1\]; it must be \[3\]"),
        ([(2, 3), (3,), (3,), (1, 3)], r"R has shape \[1, 3\]; it must be \[2, 3\]"),
        ([(), (3,), (3,)], r"X has no axis; it must be \[\.\.\., width\]"),
    ],
)
@pytest.mark.parametrize("constants", [False, True])
def test_wrong_shapes_are_refused(shapes: list[tuple[int, ...]], sentence: str, constants: bool) -> None:
    with pytest.raises((InvalidArgument, Fail), match=sentence):
        run(OP, tensors(0, *shapes), {"epsilon": 1e-5}, constants=constants)
