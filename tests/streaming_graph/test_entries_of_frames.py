"""Several entries for each frame, as tokens of three kinds in turn: rules along `3*seq`, against whole sequences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest
from streaming_graph.step_of import differences, graph, integers, weight

from temport.exporter.declare.declaration import AFTER, BEFORE, Declaration
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.streaming.limited import limited
from temport.exporter.streaming.refusal import NotCausal
from temport.exporter.streaming.walk import step_graph

ROWS = 3
X = f"f (float[batch, seq, {ROWS * 4}] x) => "
WIDE = f"f (float[batch, seq, {ROWS * 12}] x) => "
EVERY, LAST = "(float[batch, seq, 4] y) ", "(float[batch, 4] y) "
TURN = "{t = Reshape (x, joined) "
"""`[batch, 3*seq, 4]`, or 12 in place of 4 of what is wide."""
PICK = " y = Slice (u, one, end, one, three)}"
"""The second entry of each frame."""
THIRD = PICK.replace("one, end", "two, end")
ATTEND = "temport.OnlineSoftmaxAttention <num_heads = 2, causal = 1"
BY_ROW = "s = Transpose <perm = [0, 2, 1]> (t) "
BACK = " u = Transpose <perm = [0, 2, 1]> (v)"
NUMBERS = {
    "joined": integers(0, -1, 4),
    "wide": integers(0, -1, 12),
    "parted": integers(0, -1, ROWS, 4),
    "flat": integers(-1, 4),
    "of_batch": integers(-1, ROWS, 4),
    "end": integers(2**62),
    "minus": integers(-1),
    "minus_three": integers(-3),
    "zero": integers(0),
    "one": integers(1),
    "two": integers(2),
    "three": integers(ROWS),
    "k": np.array(1, np.int64),
    "nothing": np.array(0, np.int64),
    "none": np.zeros((1, 1, 1), np.float32),
    "a_row": integers(1, 1, ROWS),
    "flags": integers(0, -1),
    "w": weight(4, 4, 3),
    "table": weight(ROWS * 64, 4),
    "types": weight(ROWS, 4),
    "lstm_w": weight(1, 16, 4),
    "lstm_r": weight(1, 16, 4, seed=2),
}
LENGTH = "n = Shape <start = 1, end = 2> (t) m = Squeeze (n) "

CAUSAL = {
    "causal attention": WIDE + EVERY + "{t = Reshape (x, wide) u = " + ATTEND + "> (t)" + PICK,
    "attention in a window of more than a frame": WIDE + EVERY + "{t = Reshape (x, wide) u = " + ATTEND
    + ", window = 5> (t)" + PICK,
    "attention in a window of less than a frame": WIDE + EVERY + "{t = Reshape (x, wide) u = " + ATTEND
    + ", window = 2> (t)" + PICK,
    "attention of two entries": WIDE + "(float[batch, seq, 6] y) {t = Reshape (x, half) u = "
    "temport.OnlineSoftmaxAttention <num_heads = 3, causal = 1> (t) y = Slice (u, one, end, one, two)}",
    "attention under a mask of keys": f"f (float[batch, seq, {ROWS * 12}] x, bool[batch, seq] seen) => " + EVERY
    + "{t = Reshape (x, wide) a = Unsqueeze (seen, two) b = Expand (a, a_row) c = Reshape (b, flags) u = "
    + ATTEND + "> (t, , , c)" + THIRD,
    "attention by groups of heads to values of another width": X + "(float[batch, seq, 2] y) " + TURN
    + "q, r = Split <axis = 2, num_outputs = 2> (t) k2, v2 = Split <axis = 2, num_outputs = 2> (q) u = "
    + ATTEND + ", kv_num_heads = 1, scale = 1.0> (q, k2, v2)" + PICK,
    "attention that is written out, within frames too": X + EVERY + TURN + LENGTH + "r = Range (nothing, m, k) "
    "f = Div (r, whole) g = Unsqueeze (f, one) h = Unsqueeze (f, zero) b = GreaterOrEqual (g, h) " + BY_ROW
    + "a = MatMul (t, s) c = Where (b, a, low) e = Softmax (c) u = MatMul (e, t)" + PICK,
    "attention of the last entry": X + "(float[batch, 1, 4] y) " + TURN + "q = Slice (t, minus, end, one) "
    "y = temport.OnlineSoftmaxAttention <num_heads = 2> (q, t, t)}",
    "attention within each frame": X + EVERY + "{t = Reshape (x, of_batch) "
    "a = temport.OnlineSoftmaxAttention <num_heads = 2> (t, t, t) b = Reshape (a, flat) "
    "c = Shape (x) d = Slice (c, zero, two) g = Concat <axis = 0> (d, back) r = Reshape (b, g) p = Gather <axis = 2> "
    "(r, k) y = CumSum (p, k)}",
    "LSTM": X + EVERY + TURN + "s = Transpose <perm = [1, 0, 2]> (t) a = LSTM <hidden_size = 4> (s, lstm_w, lstm_r) "
    "v = Squeeze (a, one) u = Transpose <perm = [1, 0, 2]> (v)" + PICK,
    "conv, padded on the left": X + EVERY + TURN + BY_ROW + "v = Conv <pads = [2, 0]> (s, w)" + BACK + PICK,
    "conv, dilated over frames": X + EVERY + TURN + BY_ROW + "v = Conv <pads = [8, 0], dilations = [4]> (s, w)"
    + BACK + PICK,
    "conv, padded twice and cut": X + EVERY + TURN + BY_ROW + "c = Conv <pads = [2, 2]> (s, w) "
    "v = Slice (c, zero, cut, two)" + BACK + PICK,
    "pooling": X + EVERY + TURN + BY_ROW
    + "v = AveragePool <kernel_shape = [3], pads = [2, 0], count_include_pad = 1> (s)" + BACK + PICK,
    "sum so far": X + EVERY + TURN + "u = CumSum (t, k)" + PICK,
    "sum before": X + EVERY + TURN + "u = CumSum <exclusive = 1> (t, k)" + PICK,
    "mean of all": X + LAST + TURN + "y = ReduceMean <keepdims = 0> (t, one)}",
    "largest of all": X + LAST + TURN + "y = ReduceMax <keepdims = 0> (t, one)}",
    "a table by entry": X + EVERY + TURN + LENGTH + "r = Range (nothing, m, k) e = Gather (table, r) "
    "a = Mul (t, e) u = CumSum (a, k)" + PICK,
    "rows by kind, repeated": X + EVERY + TURN + "n = Shape <start = 1, end = 2> (x) o = Concat <axis = 0> (n, one) "
    "r = Tile (types, o) a = Mul (t, r) u = CumSum (a, k)" + PICK,
    "entries put in their places": "f (float[batch, seq, 4] x) => " + EVERY + "{n = Shape <start = 1, end = 2> (x) "
    "o = Mul (n, three) b = Shape <start = 0, end = 1> (x) g = Concat <axis = 0> (o, b, four) z = Expand (none, g) "
    "m = Squeeze (o) r = Range (nothing, m, k) i = Slice (r, one, end, zero, three) j = Unsqueeze (i, one) "
    "s = Transpose <perm = [1, 0, 2]> (x) p = ScatterND (z, j, s) t = Transpose <perm = [1, 0, 2]> (p) "
    "u = CumSum (t, k) y = Slice (u, two, end, one, three)}",
    "last entry": X + LAST + TURN + "u = CumSum (t, k) y = Gather <axis = 1> (u, minus_one)}",
    "entry before it": X + "(float[batch, 1, 4] y) " + TURN + "u = CumSum (t, k) y = Slice (u, minus_two, minus, one)}",
    "entries of the last two frames": X + "(float[batch, 3, 4] y) " + TURN
    + "y = Slice (t, minus_four, minus, one)}",
    "an entry of the second frame": X + LAST + TURN + "y = Gather <axis = 1> (t, fourth)}",
    "a difference of frames": X + "(float[batch, less, 4] y) " + TURN + "a = Slice (t, three, end, one) "
    "b = Slice (t, zero, minus_three, one) c = Sub (a, b) y = Slice (c, one, end, one, three)}",
    "batch and entries as one axis": X + EVERY + "{a = Reshape (x, flat) b = Relu (a) c = Shape (x) "
    "d = Slice (c, zero, one) g = Concat <axis = 0> (d, rest) t = Reshape (b, g) u = CumSum (t, k)" + PICK,
    "all of them": X + "(float[batch, entries, 4] y) " + TURN + "y = CumSum (t, k)}",
    "parted again": X + EVERY + TURN + "u = CumSum (t, k) p = Reshape (u, parted) y = Gather <axis = 2> (p, k)}",
}  # fmt: skip
MORE = {
    "back": integers(ROWS, 4),
    "by_kind": integers(0, ROWS, -1, 4),
    "cut": integers(-2),
    "half": integers(0, -1, 18),
    "four": integers(4),
    "whole": np.array(ROWS, np.int64),
    "low": np.array(-np.inf, np.float32),
    "minus_one": np.array(-1, np.int64),
    "minus_two": integers(-2),
    "minus_four": integers(-4),
    "fourth": np.array(4, np.int64),
    "rest": integers(-1, 4),
}


def made(text: str, weights: Mapping[str, np.ndarray] | None = None) -> tuple[ir.Model, Declaration]:
    every = {**NUMBERS, **MORE, **(weights or {})}
    body = text.partition("{")[2]
    return graph(text, {n: a for n, a in every.items() if f" {n}" in body or f"({n}" in body}, least=4)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_stream_gives_what_the_sequence_gives(name: str) -> None:
    worst = differences(*made(CAUSAL[name]))
    assert max(worst.values()) < 1e-6, worst


@pytest.mark.parametrize("horizon", [1, 4])
@pytest.mark.parametrize(
    "name", ["causal attention", "attention under a mask of keys", "attention of the last entry"]
)
def test_the_horizon_is_as_many_entries_as_its_frames_have(name: str, horizon: int) -> None:
    """Each entry sees the last `3 * horizon` of them. Of the marked keys some queries see none."""
    model, declaration = made(CAUSAL[name])
    step = step_graph(model, declaration, horizon)
    short = limited(model.clone(), horizon, declaration)
    (attended,) = (node for node in short.graph if node.op_type == "OnlineSoftmaxAttention")
    assert attended.attributes["window"].as_int() == ROWS * horizon
    assert any(f"sees the last {ROWS * horizon} then" in told for told in step.told)
    assert max(differences(short, declaration, step).values()) < 1e-6
    assert max(differences(model, declaration, step).values()) > 1e-3


def test_a_stream_forgets_after_as_many_frames_as_its_warm_up_says() -> None:
    """Five tokens are, of a frame's first, its own, those of the frame before and one of the frame before that."""
    first_entry = CAUSAL["attention in a window of more than a frame"].replace(" one, end,", " zero, end,")
    model, declaration = made(first_entry)
    step = step_graph(model, declaration, 20)
    assert step.warm_up == 2
    one, frames = (
        Float64Graph(ir.to_proto(step.model)),
        np.random.default_rng(0).standard_normal((1, 9, ROWS * 12)),
    )

    def outputs(first: int) -> list[np.ndarray]:
        state = {spec.name: np.zeros(spec.at(batch=1), spec.dtype) for spec in step.states}
        found = []
        for t in range(first, 9):
            now = one.run({"x": frames[:, t : t + 1], **state})
            state = {name: now[AFTER + name.removeprefix(BEFORE)] for name in state}
            found.append(now["y"])
        return found

    off = [np.abs(a - b).max() for a, b in zip(outputs(0)[4:], outputs(4), strict=True)]
    assert off[1] > 1e-6 and max(off[2:]) < 1e-12


ONE_STREAM = "f (float[1, seq, 12] x) => (float[1, seq, 4] y) "
REFUSED = {
    "a conv that is centred": (X + EVERY + TURN + BY_ROW + "v = Conv <pads = [1, 1]> (s, w)" + BACK + PICK, "Conv", 1),
    "an LSTM that runs backwards": (
        X + EVERY + TURN + "s = Transpose <perm = [1, 0, 2]> (t) "
        'a = LSTM <hidden_size = 4, direction = "reverse"> (s, lstm_w, lstm_r) '
        "v = Squeeze (a, one) u = Transpose <perm = [1, 0, 2]> (v)" + PICK, "backwards", None),
    "attention that is not causal": (
        WIDE + EVERY + "{t = Reshape (x, wide) u = temport.OnlineSoftmaxAttention <num_heads = 2> (t)" + PICK,
        "not causal", None),
    "attention one entry ahead": (
        WIDE + EVERY + "{t = Reshape (x, wide) u = " + ATTEND + ", query_offset = 1, window = 4> (t)" + PICK,
        "sees 1 of the entries", 1),
    "all of one kind in front of all of the next": (
        X + EVERY + "{p = Reshape (x, parted) q = Transpose <perm = [0, 2, 1, 3]> (p) t = Reshape (q, joined) "
        "u = CumSum (t, k)" + PICK, "parts the axis of frames", None),
    "one kind behind the other, in a batch of one": (
        ONE_STREAM + "{p = Reshape (x, parted) q = Transpose <perm = [0, 2, 1, 3]> (p) t = Reshape (q, joined) "
        "s = Transpose <perm = [1, 0, 2]> (t) a = LSTM <hidden_size = 4> (s, lstm_w, lstm_r) "
        "v = Squeeze (a, one) u = Transpose <perm = [1, 0, 2]> (v)" + PICK, "as they come", None),
    "parted into kinds that do not lie so": (
        ONE_STREAM + TURN + "u = CumSum (t, k) p = Reshape (u, by_kind) y = Gather <axis = 1> (p, k)}",
        "parts the axis of frames", None),
    "a cut within a frame": (
        X + "(float[batch, less, 4] y) " + TURN + "a = Slice (t, one, end, one) u = CumSum (a, k)" + PICK,
        "some of a frame's entries", None),
    "every second of three": (
        X + "(float[batch, half, 4] y) " + TURN + "y = Slice (t, zero, end, one, two)}", "leaves out frames", None),
    "scores of a kernel": (
        X + EVERY + TURN + BY_ROW + "a = MatMul (t, s) b = Relu (a) u = MatMul (b, t)" + PICK, "3 entries", None),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_so_in_one_sentence(name: str) -> None:
    text, said, delay = REFUSED[name]
    with pytest.raises(NotCausal, match=said) as refused:
        step_graph(*made(text), 20)
    assert refused.value.delay == delay
    assert "\n" not in str(refused.value)
