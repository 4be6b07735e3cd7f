"""Attention of any kernel that a module spells out: scores of frames with frames, and the mask that makes it causal."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from streaming_graph.step_of import differences, graph, integers

from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.streaming.limit_masks import limit_masks
from temport.exporter.streaming.open_sizes import name_open_sizes
from temport.exporter.streaming.refusal import NotCausal
from temport.exporter.streaming.walk import step_graph

SQUARE = (
    "n = Shape <start = 1, end = 2> (x) e = Squeeze (n) r = Range (n0, e, n1) i = Unsqueeze (r, one) "
    "j = Unsqueeze (r, zero) "
)
CONSTANTS = {
    "zero": integers(0), "one": integers(1), "n0": np.array(0, np.int64), "n1": np.array(1, np.int64),
    "minus": integers(-1), "window": np.array(5, np.int64), "odd": np.array(2, np.int64),
    "no": np.array(0, np.float32), "yes": np.array(1, np.float32), "eps": np.array(1e-6, np.float32),
}  # fmt: skip
SCORES = (
    "f (float[batch, seq, 4] x) => (float[batch, seq, 4] y) {k = Transpose <perm = [0, 2, 1]> (x) q = MatMul (x, k) "
    "s = Softplus (q) " + SQUARE
)
WEIGHED = "t = ReduceSum (w, minus) d = Add (t, eps) p = Div (w, d) y = MatMul (p, x)}"
CAUSAL = {
    "normalised": "m = LessOrEqual (j, i) w = Where (m, s, no) " + WEIGHED,
    "the other way round": "m = Greater (j, i) w = Where (m, no, s) " + WEIGHED,
    "in a window": "a = Sub (i, j) b = Less (a, window) c = LessOrEqual (j, i) m = And (b, c) w = Where (m, s, no) "
    + WEIGHED,
    "by how many there are": "m = LessOrEqual (j, i) f = Cast <to = 1> (m) t = ReduceSum (f, minus) u = Div (s, t) "
    "w = Where (m, u, no) y = MatMul (w, x)}",
    "by age": "m = LessOrEqual (j, i) a = Sub (i, j) f = Cast <to = 1> (a) g = Neg (f) h = Exp (g) "
    "c = Where (m, h, no) u = Mul (s, c) w = Where (m, u, no) " + WEIGHED,
    "of the frame that looks": "m = LessOrEqual (j, i) l = ReduceMean <keepdims = 1> (x, minus) u = Add (s, l) "
    "w0 = Where (m, u, no) w = Abs (w0) " + WEIGHED,
}  # fmt: skip


@pytest.mark.parametrize("rest", CAUSAL.values(), ids=list(CAUSAL))
def test_scores_stream(rest: str) -> None:
    model, declaration = graph(SCORES + rest, CONSTANTS)
    made = step_graph(model, declaration, 40)
    assert made.uses_horizon and made.kept == 40
    # what there is for each age is a table in float32
    assert max(differences(model, declaration, made).values()) < (1e-6 if "Exp" in rest else 1e-12)


@pytest.mark.parametrize("name", ["normalised", "in a window", "by how many there are"])
@pytest.mark.parametrize("horizon", [1, 3, 8])
def test_a_horizon_is_a_window_in_the_mask(name: str, horizon: int) -> None:
    """The stream against the graph whose masks are limited, and that against a graph that says the window itself."""
    model, declaration = graph(SCORES + CAUSAL[name], CONSTANTS)
    made = step_graph(model, declaration, horizon)
    name_open_sizes(model, declaration)
    limit_masks(model, horizon, declaration)
    assert max(differences(model, declaration, made).values()) < 1e-12
    least = min(horizon, 5) if name == "in a window" else horizon
    told = "a = Sub (i, j) b = Less (a, window) c = LessOrEqual (j, i) m = And (b, c) "
    rest = CAUSAL[name].partition("f = " if "f = " in CAUSAL[name] else "w = ")
    said, _ = graph(SCORES + told + "".join(rest[1:]), CONSTANTS | {"window": np.array(least, np.int64)})
    x = np.random.default_rng(0).standard_normal((2, 13, 4))
    limited, window = (Float64Graph(ir.to_proto(m)).run({"x": x})["y"] for m in (model, said))
    np.testing.assert_allclose(limited, window, rtol=0, atol=1e-12)


REFUSED = {
    "no mask": ("y = MatMul (s, x)}", "sums over all frames"),
    "a mask of earlier frames": (
        "m = GreaterOrEqual (j, i) w = Where (m, s, no) " + WEIGHED,
        "sums over all frames",
    ),
    "what is left is not zero": (
        "m = LessOrEqual (j, i) w = Where (m, s, yes) " + WEIGHED,
        "sums over all frames",
    ),
    "zeros that are added to": (
        "m = LessOrEqual (j, i) w0 = Where (m, s, no) w = Add (w0, yes) " + WEIGHED,
        "sums over all frames",
    ),
    "zeros times what may be infinite": (
        "m = LessOrEqual (j, i) w0 = Where (m, s, no) l = Log (q) w = Mul (w0, l) " + WEIGHED,
        "sums over all frames",
    ),
    "every other frame": (
        "m = LessOrEqual (j, i) a = Mod (j, odd) b = Equal (a, n0) c = And (m, b) w = Where (c, s, no) "
        + WEIGHED,
        "more than how much older",
    ),
    "sums over those that look": (
        "m = LessOrEqual (j, i) w = Where (m, s, no) t = ReduceSum (w, one) y = MatMul (w, x)}",
        "each frame with each other",
    ),
    "extremes": (
        "m = LessOrEqual (j, i) w = Where (m, s, no) t = ReduceMax (w, minus) p = Div (w, t) y = MatMul (p, x)}",
        "each frame with each other",
    ),
    "turned": (
        "m = LessOrEqual (j, i) w = Where (m, s, no) t = Transpose <perm = [0, 2, 1]> (w) y = MatMul (t, x)}",
        "each frame with each other",
    ),
}


@pytest.mark.parametrize("rest, sentence", REFUSED.values(), ids=list(REFUSED))
def test_what_is_not_causal_is_refused(rest: str, sentence: str) -> None:
    model, declaration = graph(SCORES + rest, CONSTANTS)
    with pytest.raises(NotCausal, match=sentence):
        step_graph(model, declaration, 40)


def test_scores_themselves_are_no_output() -> None:
    text = SCORES.replace("(float[batch, seq, 4] y)", "(float[batch, seq, seq] y)") + "y = Identity (s)}"
    model, declaration = graph(text, CONSTANTS)
    with pytest.raises((NotCausal, onnx.checker.ValidationError), match="each frame with each other"):
        step_graph(model, declaration, 40)
