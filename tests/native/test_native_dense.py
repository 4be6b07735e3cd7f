"""FusedDense, FusedLSTM and ShiftAppend: definition, function body and native kernel say the same."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from onnx import helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from custom_ops import OPS
from custom_ops.op import Specialisation

EPS = np.finfo(np.float32).eps


def proto(
    op: str,
    inputs: Sequence[Array | None],
    attributes: Mapping[str, Any],
    constants: bool,
    outputs: int,
    body: bool,
) -> onnx.ModelProto:
    """One node; all inputs but the first are constants where `constants`, and the body goes along where `body`."""
    schema = OPS[op].schema
    names = [p.name if x is not None else "" for p, x in zip(schema.inputs, inputs, strict=False)]
    fixed = {n for n in names[1:] if n} if constants else set()
    given_inputs = {n: x for n, x in zip(names, inputs, strict=True) if x is not None}
    results = [p.name for p in schema.outputs][:outputs]
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(op, names, results, "layer_7", domain="temport", **attributes)],
        "one_node",
        [
            helper.make_tensor_value_info(n, float32, x.shape)
            for n, x in given_inputs.items()
            if n not in fixed
        ],
        [helper.make_tensor_value_info(n, float32, None) for n in results],
        [numpy_helper.from_array(given_inputs[n], n) for n in sorted(fixed)],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    if body:
        at = Specialisation(attributes=attributes, query_length=None, key_length=None, opset=20)
        model.functions.append(OPS[op].body(at).function)
    return model


def run(
    op: str,
    inputs: Sequence[Array | None],
    attributes: Mapping[str, Any] | None = None,
    constants: bool = True,
    outputs: int = 1,
    body: bool = False,
    threads: int = 1,
) -> list[Array]:
    """In ONNX Runtime, with the native kernel or, where `body`, with the function body."""
    model = proto(op, inputs, attributes or {}, constants, outputs, body)
    own = onnxruntime.SessionOptions() if body else options(threads)
    session = onnxruntime.InferenceSession(model.SerializeToString(), own)
    names = [p.name for p in OPS[op].schema.inputs]
    feed = {n: x for n, x in zip(names, inputs, strict=False) if x is not None}
    return session.run(None, {i.name: feed[i.name] for i in session.get_inputs()})


def tensors(seed: int, *shapes: tuple[int, ...]) -> list[Array]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


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


@pytest.mark.parametrize("activation", ["gelu", "sigmoid", "silu"])
def test_activations_far_and_near(activation: str) -> None:
    """A layer that passes its input on: both ends, around 0, and where an approximation changes its form."""
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e4, -90, -88, 88, 90, 1e4, 1e-30, -1e-30, 0.0]])
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


LSTM_CASES = [(1, 1, 256, 256), (60, 1, 40, 130), (3, 5, 1, 1), (7, 4, 17, 33), (2, 3, 300, 8), (0, 2, 5, 6)]
LSTM_CASES += [(40, 2, 16, 250), (2, 0, 3, 5)]  # frames of several tasks; nobody in the batch


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options_", ["", "bias", "bias state", "bias state graph-weights"])
@pytest.mark.parametrize(("frames", "batch", "inputs", "hidden"), LSTM_CASES, ids=str)
def test_lstm(frames: int, batch: int, inputs: int, hidden: int, options_: str, threads: int) -> None:
    H, state = hidden, (1, batch, hidden)
    shapes = [(frames, batch, inputs), (1, 4 * H, inputs), (1, 4 * H, H), (1, 8 * H), state, state]
    x, w, r, b, h, c = tensors(frames + H, *shapes)
    w, r = w / np.float32(inputs**0.5), r / np.float32(H**0.5)
    given_inputs = [x, w, r, b if "bias" in options_ else None]
    given_inputs += [h, c] if "state" in options_ else [None, None]
    truth = OPS["FusedLSTM"].reference(given_inputs, {"hidden_size": H})
    constants = "graph" not in options_ and "state" not in options_
    got = run("FusedLSTM", given_inputs, {"hidden_size": H}, constants, 3, threads=threads)
    for ours, expected, peer in zip(got, truth, torch_lstm(given_inputs, H), strict=True):
        assert ours.shape == expected.shape
        allowed = 2 * np.abs(peer - expected).max(initial=0) + 16 * EPS * np.abs(expected).max(initial=0)
        assert np.abs(ours - expected).max(initial=0) <= allowed


def torch_lstm(given_inputs: Sequence[Array | None], hidden: int) -> list[Array]:
    """What torch computes in float32, in the layouts of ONNX."""
    x, w, r, b, h, c = given_inputs
    assert x is not None and w is not None and r is not None
    if x.shape[0] == 0:  # torch refuses it
        zero = np.zeros((1, x.shape[1], hidden), np.float32)
        empty = np.zeros((0, 1, x.shape[1], hidden), np.float32)
        return [empty, zero if h is None else h, zero if c is None else c]
    layer = torch.nn.LSTM(x.shape[2], hidden)

    def as_torch(stacked: Array) -> torch.Tensor:  # i, o, f, g -> i, f, g, o
        i, o, f, g = np.split(stacked, 4)
        return torch.from_numpy(np.concatenate([i, f, g, o]))

    bias = np.zeros((1, 8 * hidden), np.float32) if b is None else b
    layer.load_state_dict(
        {
            "weight_ih_l0": as_torch(w[0]),
            "weight_hh_l0": as_torch(r[0]),
            "bias_ih_l0": as_torch(bias[0, : 4 * hidden]),
            "bias_hh_l0": as_torch(bias[0, 4 * hidden :]),
        }
    )
    zero = torch.zeros(1, x.shape[1], hidden)
    before = tuple(zero if s is None else torch.from_numpy(s) for s in (h, c))
    with torch.no_grad():
        y, (last_h, last_c) = layer(torch.from_numpy(x), before)
    return [y[:, None].numpy(), last_h.numpy(), last_c.numpy()]


@pytest.mark.parametrize(
    "value", [0.0, 1e-30, 1e-3, 0.249, 0.251, 3.0, 30.0, 1e4, np.inf, -1e-3, -2.0, -1e4, -np.inf]
)
def test_gates_far_and_near(value: float) -> None:
    """One unit whose gates all see `value`: sigmoid and tanh at both ends, around 0 and where tanh changes its form."""
    x = np.full((1, 1, 1), value, np.float32)
    w, r = np.ones((1, 4, 1), np.float32), np.zeros((1, 4, 1), np.float32)
    y, _, cell = run("FusedLSTM", [x, w, r, None, None, None], {"hidden_size": 1}, outputs=3)
    gate = 0.5 * (1 + np.tanh(0.5 * float(value)))
    c = gate * np.tanh(float(value))
    tiny = np.finfo(np.float32).tiny
    np.testing.assert_allclose(cell.item(), c, rtol=4 * EPS, atol=tiny)
    np.testing.assert_allclose(y.item(), gate * np.tanh(c), rtol=8 * EPS, atol=tiny)


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FC00001, 0xFFC001FF])
def test_a_gate_that_is_not_a_number_stays_so(bits: int) -> None:
    x, w = np.array([[[bits]]], np.uint32).view(np.float32), np.ones((1, 4, 1), np.float32)
    assert np.isnan(run("FusedLSTM", [x, w, 0 * w, None, None, None], {"hidden_size": 1})[0]).all()


@pytest.mark.parametrize("shape", [(1, 60, 256), (3, 1, 4), (2, 5, 2, 3), (2, 4)], ids=str)
def test_shift_append(shape: tuple[int, ...]) -> None:
    given_inputs = tensors(0, shape, (shape[0], 1, *shape[2:]))
    truth = OPS["ShiftAppend"].reference(given_inputs, {})
    for body in (False, True):
        np.testing.assert_array_equal(run("ShiftAppend", given_inputs, body=body)[0], truth)


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


def test_runs_of_one_session_do_not_meet() -> None:
    """Four threads in one session whose nodes share scratch memory."""
    shapes = [(30, 1, 16), (1, 1000, 16), (1, 1000, 250), (1, 2000), (1, 1, 250), (1, 1, 250)]
    given_inputs = tensors(4, *shapes)
    given_inputs[2] /= 16
    model = proto("FusedLSTM", given_inputs, {"hidden_size": 250}, constants=True, outputs=1, body=False)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options(2))
    feeds = [{"X": x} for x in tensors(5, *[shapes[0]] * 4)]
    alone = [session.run(None, feed)[0] for feed in feeds]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda i: session.run(None, feeds[i % 4])[0], range(40))
    for i, y in enumerate(together):
        np.testing.assert_array_equal(y, alone[i % 4])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the resident memory from /proc")
def test_small_weights_do_not_keep_the_memory_of_large_ones() -> None:
    """A model of 4 MiB comes and goes twenty times, and a small one that came after it stays each time."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    def load(size: int) -> onnxruntime.InferenceSession:
        attributes = {"activation": "none", "groups": 1}
        model = proto("FusedDense", tensors(0, (1, size), (size, size), (size,)), attributes, True, 1, False)
        return onnxruntime.InferenceSession(model.SerializeToString(), options())

    kept, before = [], 0
    for i in range(24):
        large = load(1024)
        kept.append(load(64))
        del large
        before = resident() if i == 3 else before
    assert resident() - before < 40 << 20


def test_body_of_the_lstm_says_the_same() -> None:
    lstm = tensors(2, (4, 2, 6), (1, 20, 6), (1, 20, 5), (1, 40), (1, 2, 5), (1, 2, 5))
    for given_inputs in (lstm, [*lstm[:3], None, None, None]):
        both = [run("FusedLSTM", given_inputs, {"hidden_size": 5}, outputs=3, body=b) for b in (True, False)]
        for theirs, ours in zip(*both, strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-5)


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
    ("ShiftAppend", [(1, 4, 3), (1, 2, 3)], {}, r"Newest has shape \[1, 2, 3\]; it must be \[1, 1, 3\]"),
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
