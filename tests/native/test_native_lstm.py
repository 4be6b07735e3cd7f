"""FusedLSTM: definition, function body and native kernel say the same."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
import torch
from native_sessions import Array, options
from one_layer import EPS, proto, run, tensors

from temport.custom_ops.table import OPS

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


def test_body_of_the_lstm_says_the_same() -> None:
    lstm = tensors(2, (4, 2, 6), (1, 20, 6), (1, 20, 5), (1, 40), (1, 2, 5), (1, 2, 5))
    for given_inputs in (lstm, [*lstm[:3], None, None, None]):
        both = [run("FusedLSTM", given_inputs, {"hidden_size": 5}, outputs=3, body=b) for b in (True, False)]
        for theirs, ours in zip(*both, strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-5)
