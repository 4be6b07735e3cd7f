"""One rule per operator along time: every step graph gives what the graph of sequences gives for the frames so far."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from streaming_graph.step_of import differences, graph, integers, weight

from temport.exporter.streaming.walk import step_graph

X = "f (float[batch, seq, 4] x) => "
EVERY, LAST = "(float[batch, seq, 4] y)", "(float[batch, 4] y)"
C = "f (float[batch, 4, seq] x) => (float[batch, 4, seq] y)"
KERNEL = {"w": weight(4, 4, 3)}
LSTM = {"w": weight(1, 16, 4), "r": weight(1, 16, 4), "b": weight(1, 32)}
ONE = {"one": integers(1), "zero": integers(0), "minus": integers(-1), "two": integers(2)}
SEQ_LAST = "t = Transpose <perm = [0, 2, 1]> (x) "
BACK = " y = Transpose <perm = [0, 2, 1]> (u)"
END = integers(2**62)

CAUSAL = {
    "conv, padded on the left": (C + "{y = Conv <pads = [2, 0]> (x, w)}", KERNEL),
    "conv, dilated": (C + "{y = Conv <pads = [4, 0], dilations = [2]> (x, w)}", KERNEL),
    "conv, by channel": (C + "{y = Conv <pads = [2, 0], group = 4> (x, w)}", {"w": weight(4, 1, 3)}),
    "conv, padded twice and cut": (
        C + "{u = Conv <pads = [2, 2]> (x, w) y = Slice (u, zero, minus, two)}",
        {"w": weight(4, 4, 3), "zero": integers(0), "minus": integers(-2), "two": integers(2)},
    ),
    "conv after a pad": (C + "{u = Pad (x, p) y = Conv (u, w)}", {**KERNEL, "p": integers(0, 0, 2, 0, 0, 0)}),
    "conv after padding that went through a sigmoid": (
        "f (float[batch, 4, seq] x) => (float[batch, 4, seq] y) {u = Pad (x, p) v = Sigmoid (u) y = Conv (v, w)}",
        {**KERNEL, "p": integers(0, 0, 2, 0, 0, 0)},
    ),
    "conv after three rows of its own, turned": (
        X
        + EVERY
        + "{s = Shape <start = 0, end = 1> (x) n = Concat <axis = 0> (s, sizes) r = Expand (rows, n) "
        "a = Concat <axis = 1> (r, x) b = Slice (a, one, end, one) t = Transpose <perm = [0, 2, 1]> (b) "
        "v = Sigmoid (t) u = Conv (v, w)" + BACK + "}",
        {**KERNEL, **ONE, "rows": weight(1, 3, 4), "sizes": integers(3, 4), "end": END},
    ),
    "conv after frames of ones, turned": (
        X + EVERY + "{a = Pad (x, p, o) " + SEQ_LAST.replace("(x)", "(a)") + "u = Conv (t, w)" + BACK + "}",
        {**KERNEL, "p": integers(0, 2, 0, 0, 0, 0), "o": np.array(1, np.float32)},
    ),
    "conv without padding": (
        "f (float[batch, 4, seq] x) => (float[batch, 4, less] y) {y = Conv (x, w)}",
        KERNEL,
    ),
    "conv in two dimensions": (
        "f (float[batch, 2, seq, 4] x) => (float[batch, 3, seq, 2] y) {y = Conv <pads = [1, 0, 0, 0]> (x, w)}",
        {"w": weight(3, 2, 2, 3)},
    ),
    "LSTM": (
        X
        + "(float[batch, seq, 4] y) {t = Transpose <perm = [1, 0, 2]> (x) u = LSTM <hidden_size = 4> (t, w, r, b) "
        "v = Squeeze (u, one) y = Transpose <perm = [1, 0, 2]> (v)}",
        LSTM | ONE,
    ),
    "LSTM's last state": (
        X + LAST + "{t = Transpose <perm = [1, 0, 2]> (x) u, h, c = LSTM <hidden_size = 4> (t, w, r, b) "
        "y = Squeeze (c, zero)}",
        LSTM | ONE,
    ),
    "LSTM behind a difference": (
        X + "(float[batch, less, 4] y) {a = Slice (x, one, end, one) b0 = Slice (x, zero, minus, one) "
        "d = Sub (a, b0) t = Transpose <perm = [1, 0, 2]> (d) u = LSTM <hidden_size = 4> (t, w, r, b) "
        "v = Squeeze (u, one) y = Transpose <perm = [1, 0, 2]> (v)}",
        LSTM | ONE | {"end": END},
    ),
    "GRU from a static start": (
        "f (float[batch, seq, 4] x, float[batch, 4] h) => (float[batch, 4] y) {t = Transpose <perm = [1, 0, 2]> (x) "
        "k = Unsqueeze (h, zero) u, v = GRU <hidden_size = 4> (t, w, r, b, , k) y = Squeeze (v, zero)}",
        {"w": weight(1, 12, 4), "r": weight(1, 12, 4), "b": weight(1, 24)} | ONE,
    ),
    "RNN": (
        X + LAST + "{t = Transpose <perm = [1, 0, 2]> (x) u, v = RNN <hidden_size = 4> (t, w, r) "
        "y = Squeeze (v, zero)}",
        {"w": weight(1, 4, 4), "r": weight(1, 4, 4)} | ONE,
    ),
    "running sum": (X + EVERY + "{y = CumSum (x, one0)}", {"one0": np.array(1, np.int64)}),
    "running sum without its own frame": (
        X + EVERY + "{y = CumSum <exclusive = 1> (x, one0)}",
        {"one0": np.array(1, np.int64)},
    ),
    "the last frame and one before it": (
        X
        + LAST
        + "{a = Gather <axis = 1> (x, i) b = Gather <axis = 1> (x, j) c = CumSum (a, k) y = Sub (c, b)}",
        {"i": np.array(-1, np.int64), "j": np.array(-3, np.int64), "k": np.array(1, np.int64)},
    ),
    "the first frame": (
        X + LAST + "{a = Gather <axis = 1> (x, i) b = Gather <axis = 1> (x, j) y = Sub (a, b)}",
        {"i": np.array(-1, np.int64), "j": np.array(0, np.int64)},
    ),
    "the first frame taken from every frame": (
        X + EVERY + "{a = Slice (x, zero, one, one) b = Sub (x, a) y = CumSum (b, k)}",
        {"k": np.array(1, np.int64), **ONE},
    ),
    "a recurrence that begins with the first frame": (
        X + LAST + "{t = Transpose <perm = [1, 0, 2]> (x) a = Slice (t, zero, one, zero) "
        "u, v = RNN <hidden_size = 4> (t, w, r, , , a) y = Squeeze (v, zero)}",
        {"w": weight(1, 4, 4), "r": weight(1, 4, 4)} | ONE,
    ),
    "a running sum and a zero in front of it": (
        X + "(float[batch, more, 4] y) {a = CumSum (x, k) y = Pad (a, p)}",
        {"k": np.array(1, np.int64), "p": integers(0, 1, 0, 0, 0, 0)},
    ),
    "pictures, batch and frames as one axis": (
        "f (float[batch, seq, 2, 3, 3] x) => (float[batch, seq, 4] y) {a = Reshape (x, rows) b = Conv (a, w) "
        "c = MaxPool <kernel_shape = [2, 2]> (b) s = Shape <start = 0, end = 2> (x) n = Concat <axis = 0> (s, four) "
        "d = Reshape (c, n) y = CumSum (d, k)}",
        {
            "rows": integers(-1, 2, 3, 3),
            "w": weight(4, 2, 2, 2),
            "four": integers(4),
            "k": np.array(1, np.int64),
        },
    ),
    "the last three frames": (
        X
        + LAST
        + "{a = Slice (x, i, end, one) s = Softmax <axis = 1> (a) y = ReduceSum <keepdims = 0> (s, one)}",
        {"i": integers(-3), "end": END, **ONE},
    ),
    "a difference of neighbours": (
        X
        + "(float[batch, less, 4] y) {a = Slice (x, one, end, one) b = Slice (x, zero, minus, one) y = Sub (a, b)}",
        {"end": END, **ONE},
    ),
    "all frames but the first": (
        X + "(float[batch, less, 4] y) {y = Slice (x, one, end, one)}",
        {"end": END, **ONE},
    ),
    "a difference with zeros in front": (
        X + EVERY + "{a = Slice (x, one, end, one) b = Slice (x, zero, minus, one) d = Sub (a, b) "
        "e = Exp (d) y = Pad (e, p)}",
        {"end": END, "p": integers(0, 1, 0, 0, 0, 0), **ONE},
    ),
    "a difference with a context in front": (
        "f (float[batch, seq, 4] x, float[batch, 2, 4] g) => (float[batch, seq, 4] y) "
        "{a = Concat <axis = 1> (g, x) b = Slice (a, zero, m, one) y = Sub (x, b)}",
        {"m": integers(-2), **ONE},
    ),
    "a difference with the first frame in front": (
        X
        + EVERY
        + "{f = Slice (x, zero, one, one) g = Concat <axis = 1> (f, x) a = Slice (g, one, end, one) "
        "b = Slice (g, zero, minus, one) y = Sub (a, b)}",
        {"end": END, **ONE},
    ),
    "padding with ones": (
        X + EVERY + "{a = Pad (x, p, v) b = Slice (a, zero, m, one) y = Mul (x, b)}",
        {"p": integers(0, 3, 0, 0, 0, 0), "v": np.float32(1), "m": integers(-3), **ONE},
    ),
    "a table by position": (
        X + EVERY + "{s = Shape <start = 1, end = 2> (x) p = Slice (t, zero, s, zero) y = Mul (x, p)}",
        {"t": weight(50, 4), **ONE},
    ),
    "positions that are counted": (
        X
        + EVERY
        + "{s = Shape <start = 1, end = 2> (x) n = Squeeze (s) r = Range (z, n, o) q = Cast <to = 1> (r) "
        "c = Cos (q) u = Unsqueeze (c, one) y = Mul (x, u)}",
        {"z": np.array(0, np.int64), "o": np.array(1, np.int64), **ONE},
    ),
    "batch and frames as rows": (
        X + EVERY + "{a = Reshape (x, rows) b = Gemm (a, w, c) s = Shape (x) d = Reshape (b, s) "
        "y = CumSum (d, k)}",
        {"rows": integers(-1, 4), "w": weight(4, 4), "c": weight(4), "k": np.array(1, np.int64)},
    ),
    "heads": (
        X + EVERY + "{a = Reshape (x, h) b = Transpose <perm = [0, 2, 1, 3]> (a) d = Softmax (b) "
        "e = Transpose <perm = [0, 2, 1, 3]> (d) g = Reshape (e, j) y = CumSum (g, k)}",
        {"h": integers(0, 0, 2, 2), "j": integers(0, 0, 4), "k": np.array(1, np.int64)},
    ),
    "a static input joined to every frame": (
        "f (float[batch, seq, 4] x, float[batch, 3] g) => (float[batch, seq, 4] y) {u = Unsqueeze (g, one) "
        "s = Shape <start = 1, end = 2> (x) b = Shape <start = 0, end = 1> (x) n = Concat <axis = 0> (b, s, three) "
        "e = Expand (u, n) a = Concat <axis = 2> (x, e) d = MatMul (a, w) y = CumSum (d, k)}",
        {"w": weight(7, 4), "three": integers(3), "k": np.array(1, np.int64), **ONE},
    ),
    "tokens": (
        "f (int64[batch, seq] x) => (float[batch, seq, 4] y) {e = Gather (w, x) y = CumSum (e, k)}",
        {"w": weight(3, 4), "k": np.array(1, np.int64)},
    ),
    "causal attention": (
        "f (float[batch, seq, 12] x) => (float[batch, seq, 4] y) "
        "{y = temport.OnlineSoftmaxAttention <num_heads = 2, causal = 1> (x)}",
        {},
    ),
    "attention in a window": (
        "f (float[batch, seq, 12] x) => (float[batch, seq, 4] y) "
        "{y = temport.OnlineSoftmaxAttention <num_heads = 2, causal = 1, window = 5> (x)}",
        {},
    ),
    "attention of the last frame to groups of heads": (
        "f (float[batch, seq, 8] x, float[batch, seq, 4] k, float[batch, seq, 4] v) => (float[batch, 1, 8] y) "
        "{q = Slice (x, minus, end, one) "
        "y = temport.OnlineSoftmaxAttention <num_heads = 4, kv_num_heads = 2> (q, k, v)}",
        {"end": END, **ONE},
    ),
    "attention of every frame to a static input": (
        "f (float[batch, seq, 4] x, float[batch, 6, 4] g) => (float[batch, seq, 4] y) "
        "{a = temport.OnlineSoftmaxAttention <num_heads = 2> (x, g, g) y = CumSum (a, k)}",
        {"k": np.array(1, np.int64)},
    ),
    "attention in blocks": (
        "f (float[batch, seq, 12] x) => (float[batch, seq, 4] y) "
        '{y = temport.BlockLinearAttention <num_heads = 2, block_size = 3, feature_map = "elu1"> (x0, x1, x2)}',
        {},
    ),
    **{
        f"{what} behind a difference": (
            "f (float[batch, seq, 12] x) => (float[batch, less, 4] y) {a = Slice (x, one, end, one) "
            f"b = Slice (x, zero, minus, one) d = Sub (a, b) y = temport.{node} (d)}}",
            {"end": END, **ONE},
        )
        for what, node in {
            "attention in a window": "OnlineSoftmaxAttention <num_heads = 2, causal = 1, window = 5>",
            "attention in blocks": 'BlockLinearAttention <num_heads = 2, block_size = 3, feature_map = "elu1">',
        }.items()
    },
    "batch normalisation": (
        C + "{u = BatchNormalization (x, w, b, m, v) y = CumSum (u, k)}",
        {"w": weight(4), "b": weight(4), "m": weight(4), "v": abs(weight(4)), "k": np.array(2, np.int64)},
    ),
    "einsum": (
        X + EVERY + '{u = Einsum <equation = "bti,io->bto"> (x, w) y = CumSum (u, k)}',
        {"w": weight(4, 4), "k": np.array(1, np.int64)},
    ),
}


@pytest.mark.parametrize("name", CAUSAL)
def test_a_stream_gives_what_the_sequence_gives(name: str) -> None:
    text, weights = CAUSAL[name]
    if "x0, x1, x2" in text:
        text = text.replace("{y", "{x0, x1, x2 = Split <axis = 2, num_outputs = 3> (x) y")
    model, declaration = graph(text, weights, least=4)
    worst = differences(model, declaration)
    assert all(error < 1e-6 for error in worst.values()), worst


@pytest.mark.parametrize(
    "wrong", ["a frame too late", "a ring that is one frame short", "a state that nobody carries"]
)
def test_a_broken_rule_is_seen(wrong: str) -> None:
    """The comparison that all tests above rest on can fail."""
    model, declaration = graph(C + "{y = Conv <pads = [2, 0]> (x, w)}", KERNEL)
    made = step_graph(model, declaration, 40)
    if wrong == "a frame too late":
        made = replace(made, begins=(1,))
    elif wrong == "a ring that is one frame short":
        weights = made.model.graph.initializers["w"]
        weights.const_value = ir.tensor(
            weights.const_value.numpy() * np.array([0, 1, 1], np.float32), name="w"
        )
    else:
        after = made.model.graph.outputs[1]
        zero = ir.node("Sub", [after, after], outputs=[ir.Value(name="zero", type=after.type)])
        made.model.graph.append(zero)
        made.model.graph.outputs[1] = zero.outputs[0]
        zero.outputs[0].name, after.name = after.name, "unused"
    assert max(differences(model, declaration, made).values()) > 1e-3
