"""FusedDense: definition and native kernel say the same; what they refuse; how long weights live."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_sessions import Array, options
from one_layer import EPS, proto, run, tensors
from onnx import helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from temport.custom_ops.table import OPS

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda x: x,
    "relu": torch.nn.functional.relu,
    "gelu": torch.nn.functional.gelu,
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
}


def dense_inputs(
    rows: int, inputs: int, outputs: int, groups: int = 1, factor: bool = False, addend: bool = False
) -> list[Array | None]:
    """X, W, B, M and R; the result is about 1."""
    weight = (inputs, outputs) if groups == 1 else (groups, inputs, outputs)
    shapes = [(rows, groups * inputs), weight, (groups * outputs,)]
    x, w, b, m, r = tensors(rows + inputs, *shapes, *[(rows, groups * outputs)] * 2)
    return [x, w / np.float32(max(1, inputs) ** 0.5), b, m if factor else None, r if addend else None]


def torch_dense(given_inputs: Sequence[Array | None], activation: str) -> Array:
    """What torch computes in float32."""
    x, w, b, m, r = (None if v is None else torch.from_numpy(v) for v in given_inputs)
    assert x is not None and w is not None and b is not None
    w = w if w.ndim == 3 else w[None]
    parts = zip(x.tensor_split(w.shape[0], dim=1), w, b.tensor_split(w.shape[0]), strict=True)
    y = ACTIVATIONS[activation](torch.cat([torch.addmm(c, v, u) for v, u, c in parts], dim=1))
    y = y if m is None else y * m
    return (y if r is None else y + r).numpy()


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(0, 70),
    inputs=st.integers(0, 600),
    outputs=st.integers(1, 300),
    groups=st.sampled_from([1, 1, 1, 2, 4, 5]),
    activation=st.sampled_from(list(ACTIVATIONS)),
    factor=st.booleans(),
    addend=st.booleans(),
    constants=st.booleans(),
    threads=st.integers(1, 2),
)
def test_fused_dense(
    rows: int,
    inputs: int,
    outputs: int,
    groups: int,
    activation: str,
    factor: bool,
    addend: bool,
    constants: bool,
    threads: int,
) -> None:
    given_inputs = dense_inputs(rows, inputs, outputs, groups, factor, addend)
    attributes = {"activation": activation, "groups": groups}
    truth = OPS["FusedDense"].reference(given_inputs, attributes)
    assert isinstance(truth, np.ndarray)
    y = run("FusedDense", given_inputs, attributes, constants=constants, threads=threads)[0]
    assert y.shape == truth.shape
    error = np.abs(torch_dense(given_inputs, activation) - truth).max(initial=0)
    assert np.abs(y - truth).max(initial=0) <= 2 * error + 16 * EPS * np.abs(truth).max(initial=0)


@pytest.mark.parametrize("leading", [(), (2, 17), (3, 1, 5), (2, 0, 4)], ids=str)
def test_any_number_of_axes(leading: tuple[int, ...]) -> None:
    rows = int(np.prod(leading, dtype=int))
    flat = dense_inputs(rows, 19, 21, factor=True, addend=True)
    x, w, b, m, r = flat
    given_inputs = [x.reshape(*leading, 19), w, b, m.reshape(*leading, 21), r.reshape(*leading, 21)]
    attributes = {"activation": "silu", "groups": 1}
    truth = OPS["FusedDense"].reference(given_inputs, attributes)
    assert isinstance(truth, np.ndarray) and truth.shape == (*leading, 21)
    y = run("FusedDense", given_inputs, attributes)[0]
    assert y.shape == truth.shape
    error = np.abs(torch_dense(flat, "silu") - truth.reshape(rows, 21)).max(initial=0)
    assert np.abs(y - truth).max(initial=0) <= 2 * error + 16 * EPS * np.abs(truth).max(initial=0)


@pytest.mark.parametrize("activation", ["gelu", "sigmoid", "silu"])
def test_activations_far_and_near(activation: str) -> None:
    """A layer that passes its input on: both ends, around 0, and where an approximation changes its form."""
    x = np.concatenate(
        [np.linspace(-12, 12, 4001), [-3e38, -1e4, -90, -88, 88, 90, 1e4, 3e38, 1e-30, -1e-30, 0.0]]
    )
    x = np.append(x, [np.inf, np.nan]).astype(np.float32)[:, None]
    given_inputs = [x, np.ones((1, 1), np.float32), np.zeros(1, np.float32), None, None]
    y = run("FusedDense", given_inputs, {"activation": activation, "groups": 1})[0]
    finite = np.isfinite(x)
    truth = OPS["FusedDense"].reference(
        [np.where(finite, x, 0), *given_inputs[1:]], {"activation": activation, "groups": 1}
    )
    error = np.abs(ACTIVATIONS[activation](torch.from_numpy(x)).numpy() - truth)
    allowed = 2 * error[finite] + 4 * EPS * np.maximum(np.abs(truth[finite]), 1e-2)
    assert (np.abs(y[finite] - truth[finite]) <= allowed).all()
    assert y[-2] == 1.0 if activation == "sigmoid" else not np.isfinite(y[-2])
    assert np.isnan(y[-1])


@pytest.mark.parametrize("op", ["FusedDense", "FusedLSTM"])
def test_a_bias_that_is_no_constant_is_added(op: str) -> None:
    """The weights are packed when the model is loaded, the bias is not there before it runs."""
    lstm = op == "FusedLSTM"
    shapes = [(3, 1, 4), (1, 20, 4), (1, 20, 5), (1, 40)] if lstm else [(2, 4), (4, 6), (6,)]
    attributes = {"hidden_size": 5} if lstm else {"activation": "none", "groups": 1}
    given_inputs = tensors(3, *shapes)
    model = proto(op, given_inputs, attributes, constants=True, outputs=1, body=False)
    bias = model.graph.initializer[[t.name for t in model.graph.initializer].index("B")]
    model.graph.initializer.remove(bias)
    model.graph.input.append(helper.make_tensor_value_info("B", onnx.TensorProto.FLOAT, bias.dims))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options())
    truth = OPS[op].reference(given_inputs, attributes)
    y = session.run(None, {"X": given_inputs[0], "B": given_inputs[-1]})[0]
    np.testing.assert_allclose(y, truth[0] if isinstance(truth, tuple) else truth, atol=1e-5)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the resident memory from /proc")
def test_small_weights_do_not_keep_the_memory_of_large_ones() -> None:
    """A model of 4 MiB comes and goes twenty times, and a small one that came after it stays each time: that takes no
    more than the small ones alone, with what the runtime holds for each session.
    """

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    def load(size: int) -> onnxruntime.InferenceSession:
        attributes = {"activation": "none", "groups": 1}
        model = proto("FusedDense", tensors(0, (1, size), (size, size), (size,)), attributes, True, 1, False)
        return onnxruntime.InferenceSession(model.SerializeToString(), options())

    kept = []

    def growth(beside_large: bool) -> int:
        before = 0
        for i in range(24):
            large = load(1024) if beside_large else None
            kept.append(load(64))
            del large
            before = resident() if i == 3 else before
        return resident() - before

    assert growth(beside_large=True) - growth(beside_large=False) < 40 << 20


REFUSED: list[tuple[str, list[tuple[int, ...]], dict[str, Any], str]] = [
    ("FusedDense", [(1, 3), (5, 4), (4,)], {}, r"'layer_7': X has shape \[1, 3\]; it must be \[.*, 5\]"),
    ("FusedDense", [(1, 3), (4,), (4,)], {}, r"W has shape \[4\]; it must be \[inputs, outputs\]"),
    ("FusedDense", [(1, 3), (3, 4), (5,)], {}, r"B has shape \[5\]; it must be \[4\]"),
    ("FusedDense", [(1, 6), (3, 4), (8,)], {"groups": 2}, r"W has shape .* must be \[2, inputs, outputs\]"),
    ("FusedDense", [(1, 3), (3, 4), (4,), (1, 4), (2, 4)], {}, r"R has shape \[2, 4\]; it must be \[1, 4\]"),
    ("FusedDense", [(1, 3), (3, 4), (4,), (1, 1)], {}, r"M has shape \[1, 1\]; it must be \[1, 4\]"),
    (
        "FusedLSTM",
        [(2, 1, 3), (1, 8, 3), (1, 8, 1)],
        {"hidden_size": 2},
        r"R has shape .* must be \[1, 8, 2\]",
    ),
    ("FusedLSTM", [(2, 1, 3), (1, 8, 3), (1, 8, 2)], {"hidden_size": 1 << 20}, r"W has shape \[1, 8, 3\]"),
    (
        "FusedLSTM",
        [(2, 3), (1, 8, 3), (1, 8, 2)],
        {"hidden_size": 2},
        r"X has shape \[2, 3\]; it must be \[seq, ba",
    ),
]


@pytest.mark.parametrize(("op", "shapes", "attributes", "sentence"), REFUSED)
def test_wrong_shapes_are_refused(
    op: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any], sentence: str
) -> None:
    if op == "FusedDense":
        attributes = {"activation": "none", "groups": 1, **attributes}
    with pytest.raises(Exception, match=sentence) as refused:
        run(op, tensors(0, *shapes), attributes, constants=False)
    assert isinstance(refused.value, (InvalidArgument, onnxruntime.capi.onnxruntime_pybind11_state.Fail))
