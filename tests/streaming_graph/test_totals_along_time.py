"""What a frame adds to a total of those so far, and products along time with a matrix of positions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator
from streaming_graph.step_of import differences, graph, integers, weight

from temport.exporter.streaming.refusal import NotCausal
from temport.exporter.streaming.walk import step_graph

X = "f (float[batch, seq, 4] x) => "
EVERY, LAST, KEPT = "(float[batch, seq, 4] y)", "(float[batch, 4] y)", "(float[batch, 1, 4] y)"
C = "f (float[batch, 4, seq] x) => (float[batch, 4, seq] y)"
TIME = {"t": integers(1), "both": integers(1, 2)}
AGE = (
    "s = Shape <start = 1, end = 2> (x) n = Squeeze (s) r = Range (zero, n, one) "
    "a = Unsqueeze (r, at_one) b = Unsqueeze (r, at_zero) d = Sub (a, b) e = Cast <to = 1> (d) "
)
NUMBERS = {
    "zero": np.array(0, np.int64),
    "one": np.array(1, np.int64),
    "at_zero": integers(0),
    "at_one": integers(1),
    "k": np.array(0.8, np.float32),
}
POWERS = AGE + "p = Pow (k, e) m = Trilu <upper = 0> (p) "
ONES = AGE + "c = Mul (e, nought) f = Add (c, unit) m = Trilu <upper = 0> (f) "
BAND = (
    AGE + "c = Mul (e, nought) f = Add (c, unit) g = Trilu <upper = 0> (f, ahead) h = Trilu (g, behind) "
    "q = Mul (h, e) m = Add (q, h) "
)
BOUNDS = {
    "nought": np.array(0, np.float32),
    "unit": np.array(1, np.float32),
    "behind": np.array(-3, np.int64),
}

COUNT = "s = Shape <start = 1, end = 2> (x) n = Squeeze (s) f = Cast <to = 1> (n) "

CAUSAL = {
    **{
        f"the {what} of all frames": (X + LAST + f"{{y = Reduce{what} <keepdims = 0> (x, t)}}", TIME)
        for what in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "SumSquare")
    },
    "a mean that is written by hand": (
        X + LAST + "{" + COUNT + "t0 = ReduceSum <keepdims = 0> (x, t) y = Div (t0, f)}", TIME | NUMBERS,
    ),
    "a sum by the root of one frame less": (
        X + LAST + "{" + COUNT + "l = Sub (n, one) m0 = Max (l, one) g = Cast <to = 1> (m0) h = Sqrt (g) "
        "t0 = ReduceSum <keepdims = 0> (x, t) y = Div (t0, h)}", TIME | NUMBERS,
    ),
    "the mean of all frames, kept": (X + KEPT + "{y = ReduceMean (x, t)}", TIME),
    "the largest number of all": (X + "(float[batch] y) {y = ReduceMax <keepdims = 0> (x, both)}", TIME),
    "the mean of all frames and features": (
        X + "(float[batch] y) {y = ReduceMean <keepdims = 0> (x, both)}",
        TIME,
    ),
    "the last frame less the mean": (
        X + LAST + "{m = ReduceMean (x, t) d = Sub (x, m) y = Gather <axis = 1> (d, i)}",
        TIME | {"i": np.array(-1, np.int64)},
    ),
    **{
        f"the {what} behind a convolution without padding": (
            "f (float[batch, 4, seq] x) => " + LAST + f"{{u = Conv (x, w) y = Reduce{what} <keepdims = 0> (u, axis)}}",
            {"w": weight(4, 4, 3), "axis": integers(2)},
        )
        for what in ("Mean", "Sum", "Max", "Prod")
    },
    **{
        f"the {what} of frames with zeros in front": (
            X + LAST + f"{{a = Pad (x, p) b = Exp (a) y = Reduce{what} <keepdims = 0> (b, t)}}",
            TIME | {"p": integers(0, 2, 0, 0, 0, 0)},
        )
        for what in ("Mean", "Sum", "Min", "Prod")
    },
    "the mean of a static frame and all frames": (
        "f (float[batch, seq, 4] x, float[batch, 1, 4] g) => (float[batch] y) "
        "{a = Concat <axis = 1> (g, x) y = ReduceMean <keepdims = 0> (a, both)}",
        TIME,
    ),
    "the smallest of the frames before the last two, behind zeros": (
        X + LAST + "{a = Pad (x, p) b = Slice (a, none, minus, t) y = ReduceMin <keepdims = 0> (b, t)}",
        TIME | {"p": integers(0, 3, 0, 0, 0, 0), "none": integers(0), "minus": integers(-2)},
    ),
    "a pool of means": (C + "{y = AveragePool <kernel_shape = [3], pads = [2, 0], count_include_pad = 1> (x)}", {}),
    "a pool of the largest": (
        C + "{u = Pad (x, p) y = MaxPool <kernel_shape = [3]> (u)}",
        {"p": integers(0, 0, 2, 0, 0, 0)},
    ),
    "powers of a decay": (X + EVERY + "{" + POWERS + "y = MatMul (m, x)}", NUMBERS),
    "powers of a decay on the right": (
        C + "{" + POWERS.replace("end = 2> (x)", "end = 3> (x)").replace("start = 1", "start = 2")
        + "o = Transpose <perm = [1, 0]> (m) y = MatMul (x, o)}",
        NUMBERS,
    ),
    "powers of a decay whose weights sum to one": (
        X + EVERY + "{" + POWERS + "w = ReduceSum (m, at_one) v = Div (m, w) y = MatMul (v, x)}",
        NUMBERS,
    ),
    "all frames alike": (X + EVERY + "{" + ONES + "y = MatMul (m, x)}", NUMBERS | BOUNDS),
    "a band of frames": (X + EVERY + "{" + BAND + "y = MatMul (m, x)}", NUMBERS | BOUNDS | {"ahead": np.array(0)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CAUSAL)
def test_a_stream_gives_what_the_sequence_gives(name: str) -> None:
    model, declaration = graph(*CAUSAL[name])
    worst = differences(model, declaration)
    # powers are read from float32
    assert all(error < (1e-5 if "powers" in name else 1e-9) for error in worst.values()), worst


def test_a_mean_waits_for_its_first_entry() -> None:
    assert step_graph(*graph(*CAUSAL["the Mean behind a convolution without padding"]), 40).begins == (2,)


def test_a_sum_keeps_what_rounding_loses() -> None:
    """Of the same number again and again in float32."""
    model, declaration = graph(X + EVERY + "{y = CumSum (x, k)}", {"k": np.array(1, np.int64)})
    made = step_graph(model, declaration, 40)
    session = ReferenceEvaluator(ir.to_proto(made.model))
    frame = np.full((1, 1, 4), 0.1, np.float32)
    state = {spec.name: np.zeros(spec.at(batch=1), spec.dtype) for spec in made.states}
    names = [output.name for output in ir.to_proto(made.model).graph.output]
    plain = np.float32(0)
    for _ in range(3000):
        found = dict(zip(names, session.run(None, {"x": frame, **state}), strict=True))
        state = {name: found[f"next_{name}"] for name in state}
        plain += np.float32(0.1)
    exact = 3000 * float(np.float32(0.1))
    assert np.abs(found["y"] - exact).max() <= 2**-23 * exact
    assert abs(plain - exact) > 20 * 2**-23 * exact


SCAN = (
    "h, u = Scan <num_scan_inputs = 1, body = step (float[batch, 4] a, float[batch, 4] f) => "
    "(float[batch, 4] next, float[batch, 4] out) { m = Max (a, f) next = Add (m, bias) out = Identity (next) } "
)
BIAS = {"bias": np.array(0.25, np.float32)}
CARRIED = {
    "a scan": (
        "f (float[batch, seq, 4] x, float[batch, 4] begin) => (float[batch, seq, 4] y) {"
        + SCAN
        + ", scan_input_axes = [1], scan_output_axes = [1]> (begin, x) y = Identity (u)}",
        BIAS,
    ),
    "what a scan carries in the end": (
        "f (float[batch, seq, 4] x, float[batch, 4] begin) => (float[batch, 4] y) {"
        + SCAN
        + ", scan_input_axes = [1]> (begin, x) y = Identity (h)}",
        BIAS,
    ),
}


@pytest.mark.parametrize("name", CARRIED)
def test_a_scan_carries_its_values(name: str) -> None:
    worst = differences(*graph(*CARRIED[name]))
    assert all(error < 1e-9 for error in worst.values()), worst


def test_a_scan_from_the_last_frame_on_is_refused() -> None:
    text = CARRIED["a scan"][0].replace("scan_input_axes", "scan_input_directions = [1], scan_input_axes")
    with pytest.raises(NotCausal, match="backwards"):
        step_graph(*graph(text, BIAS), 40)


REFUSED = {
    "every frame by the number of all": (X + EVERY + "{" + COUNT + "y = Div (x, f)}", {}, "number of all frames", None),
    "the last frame by a table of lengths": (
        X + LAST + "{" + COUNT + "w = Gather (table, n) g = ReduceSum <keepdims = 0> (x, t) y = Mul (g, w)}",
        TIME | {"table": np.arange(64, dtype=np.float32) ** 2}, "number of frames through Gather", None,
    ),
    "a mean taken from every frame": (X + EVERY + "{m = ReduceMean (x, t) y = Sub (x, m)}", TIME, "ReduceMean", None),
    "a recurrence over what a mean was taken from": (
        X + EVERY + "{m = ReduceMean (x, t) d = Sub (x, m) y = CumSum (d, one)}",
        TIME | {"one": np.array(1, np.int64)}, "ReduceMean", None,
    ),
    "decays to both sides": (
        X + EVERY + "{" + AGE + "g = Abs (e) m = Pow (k, g) y = MatMul (m, x)}", NUMBERS, "later ones too", None,
    ),
    "a band that reaches ahead": (
        X + EVERY + "{" + BAND + "y = MatMul (m, x)}", NUMBERS | BOUNDS | {"ahead": np.array(2)}, "come after", 2,
    ),
    "the last frame and a pool that is centred": (
        C + "{y = MaxPool <kernel_shape = [3], pads = [1, 1]> (x)}", {}, "ends of the sequence", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_later_frames_is_refused(name: str) -> None:
    text, weights, said, delay = REFUSED[name]
    model, declaration = graph(text, weights)
    with pytest.raises(NotCausal, match=said) as refused:
        step_graph(model, declaration, 40)
    assert refused.value.delay == delay


def test_weights_of_another_number_of_frames_are_refused() -> None:
    text = X + EVERY + "{" + POWERS + "w = ReduceMax (m) h = ReduceSum (m) q = Div (m, h) y = MatMul (q, x)}"
    model, declaration = graph(text, NUMBERS)
    with pytest.raises(NotCausal, match="changes with their number"):
        step_graph(model, declaration, 40)
