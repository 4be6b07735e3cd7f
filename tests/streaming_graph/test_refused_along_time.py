"""Operators that need later frames are refused in one sentence, with the delay that would do."""

from __future__ import annotations

import numpy as np
import pytest
from streaming_graph.step_of import graph, integers, weight

from temport.exporter.errors import UserError
from temport.exporter.streaming.refusal import NotCausal
from temport.exporter.streaming.walk import step_graph

X = "f (float[batch, seq, 4] x) => "
EVERY = "(float[batch, seq, 4] y)"
C = "f (float[batch, 4, seq] x) => (float[batch, 4, seq] y)"
KERNEL = {"w": weight(4, 4, 3)}
LSTM = {"w": weight(1, 16, 4), "r": weight(1, 16, 4), "b": weight(1, 32)}
ONE = {"one": integers(1), "zero": integers(0), "minus": integers(-1), "two": integers(2)}
END = integers(2**62)

REFUSED = {
    "a convolution that is centred": (C + "{y = Conv <pads = [1, 1]> (x, w)}", KERNEL, "Conv", 1),
    "a convolution with a stride": (
        "f (float[batch, 4, seq] x) => (float[batch, 4, half] y) {y = Conv <pads = [2, 0], strides = [2]> (x, w)}",
        KERNEL,
        "gives one frame for every 2",
        None,
    ),
    "an LSTM that runs backwards": (
        X + "(float[seq, 1, batch, 4] y) {t = Transpose <perm = [1, 0, 2]> (x) "
        'y = LSTM <hidden_size = 4, direction = "reverse"> (t, w, r, b)}',
        LSTM,
        "backwards",
        None,
    ),
    "attention that is not causal": (
        "f (float[batch, seq, 12] x) => (float[batch, seq, 4] y) "
        "{y = temport.OnlineSoftmaxAttention <num_heads = 2> (x)}",
        {},
        "not causal",
        None,
    ),
    "a softmax over time": (X + EVERY + "{y = Softmax <axis = 1> (x)}", {}, "all frames", None),
    "frames compared with each other": (
        X + "(float[batch, seq, seq] y) {t = Transpose <perm = [0, 2, 1]> (x) y = MatMul (x, t)}",
        {},
        "each frame with each other",
        None,
    ),
    "frames turned around": (
        X + EVERY + "{y = Slice (x, minus, end, one, minus)}",
        {"end": integers(-(2**62)), **ONE},
        "order of frames",
        None,
    ),
    "one frame of two": (
        X + "(float[batch, half, 4] y) {y = Slice (x, zero, end, one, two)}",
        {"end": END, **ONE},
        "leaves out frames",
        None,
    ),
    "a window of frames at every frame": (
        X
        + "(float[batch, seq, 3, 4] y) {p = Pad (x, two_front) s = Shape <start = 1, end = 2> (x) n = Squeeze (s) "
        "r = Range (z, n, o) c = Unsqueeze (r, one) i = Add (c, ages) y = Gather <axis = 1> (p, i)}",
        {
            "two_front": integers(0, 2, 0, 0, 0, 0),
            "z": np.array(0),
            "o": np.array(1),
            "ages": integers(0, 1, 2),
            **ONE,
        },
        "as many places as there are frames",
        None,
    ),
    "the next frame beside this one": (
        X + EVERY + "{a = Slice (x, one, end, one) y = Pad (a, p)}",
        {"end": END, "p": integers(0, 0, 0, 0, 1, 0), **ONE},
        "Pad",
        1,
    ),
    "a mean that every frame takes": (
        X + EVERY + "{a = Gather <axis = 1> (x, i) y = Sub (x, a)}",
        {"i": integers(-1)},
        "depends on the last one",
        None,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_later_frames_is_refused(name: str) -> None:
    text, weights, said, delay = REFUSED[name]
    model, declaration = graph(text, weights, least=4)
    with pytest.raises(NotCausal, match=said) as refused:
        step_graph(model, declaration, 40)
    assert refused.value.delay == delay
    assert str(refused.value).count("\n") == 0


def test_what_carries_nothing_is_no_stream() -> None:
    model, declaration = graph(X + EVERY + "{y = MatMul (x, w)}", {"w": weight(4, 4)})
    with pytest.raises(UserError, match="carries nothing from frame to frame"):
        step_graph(model, declaration, 40)
