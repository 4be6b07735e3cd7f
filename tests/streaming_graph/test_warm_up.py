"""After the warm-up it does not matter where a stream began: one that began late against one that never stopped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
import torch
from streaming_graph.step_of import graph, integers, weight
from torch import nn
from torch.nn import functional

from temport.exporter.declare.declaration import AFTER, BEFORE
from temport.exporter.declare.modules import declare_factory
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.streaming import step_graph as step_graphs
from temport.exporter.streaming.declare import declare_stream
from temport.exporter.streaming.step_graph import StepGraph
from temport.exporter.streaming.walk import step_graph

X = "f (float[batch, seq, 4] x) => "
EVERY, LAST = "(float[batch, seq, 4] y)", "(float[batch, 4] y)"
TURNED = "t = Transpose <perm = [0, 2, 1]> (x) "
BACK = " y = Transpose <perm = [0, 2, 1]> (c)"
ATTENDS = "temport.OnlineSoftmaxAttention <num_heads = 2, causal = 1, window = 4>"
PACKED = {"p": weight(4, 12), "q": weight(4, 12, seed=2)}
LATE, FRAMES, HORIZON = 3, 44, 5

FORGET = {
    "two convolutions": (
        X + EVERY + "{" + TURNED + "b = Conv <pads = [2, 0]> (t, w) "
        "c = Conv <pads = [4, 0], dilations = [2]> (b, w)" + BACK + "}", {"w": weight(4, 4, 3)}, 6,
    ),
    "ones in front of the frames": (
        X + EVERY + "{a = Pad (x, p, one) " + TURNED.replace("(x)", "(a)") + "c = Conv (t, w)" + BACK + "}",
        {"p": integers(0, 2, 0, 0, 0, 0), "one": np.array(1, np.float32), "w": weight(4, 4, 3)}, 2,
    ),
    "attention twice, in windows of four": (
        X + EVERY + "{a = MatMul (x, p) b = " + ATTENDS + " (a) c = MatMul (b, q) y = " + ATTENDS + " (c)}", PACKED, 6,
    ),
    "the frame before the last two": (
        X + LAST + "{a = Slice (x, from, to, one) y = Squeeze (a, one)}",
        {"from": integers(-3), "to": integers(-2), "one": integers(1)}, 2,
    ),
    "a table that ends, under a kernel": (
        X + EVERY + "{s = Shape <start = 1, end = 2> (x) p = Slice (table, zero, s, zero) a = Add (x, p) "
        + TURNED.replace("(x)", "(a)") + "c = Conv <pads = [2, 0]> (t, w)" + BACK + "}",
        {"table": weight(40, 4), "zero": integers(0), "w": weight(4, 4, 3)}, 41,
    ),
    "scores of the frames of the horizon": (
        X + EVERY + "{k = Transpose <perm = [0, 2, 1]> (x) q = MatMul (x, k) v = Softplus (q) "
        "s = Shape <start = 1, end = 2> (x) n = Squeeze (s) r = Range (zero, n, one) i = Unsqueeze (r, at) "
        "j = Unsqueeze (r, front) m = LessOrEqual (j, i) w = Where (m, v, no) y = MatMul (w, x)}",
        {"zero": np.array(0), "one": np.array(1), "at": integers(1), "front": integers(0),
         "no": np.array(0, np.float32)}, 4,
    ),
}  # fmt: skip
REMEMBER = {
    "a sum": (X + EVERY + "{y = CumSum (x, k)}", {"k": np.array(1, np.int64)}),
    "the first frame": (X + LAST + "{y = Gather <axis = 1> (x, k)}", {"k": np.array(0, np.int64)}),
    "a position": (
        X + EVERY + "{s = Shape <start = 1, end = 2> (x) n = Squeeze (s) r = Range (zero, n, one) "
        "f = Cast <to = 1> (r) v = Sin (f) u = Unsqueeze (v, at) y = Add (x, u)}",
        {"zero": np.array(0), "one": np.array(1), "at": integers(1)},
    ),
}  # fmt: skip


def differs(made: StepGraph) -> list[bool]:
    """At each frame of a stream that begins `LATE`: whether it gives something else than one that began before."""
    one = Float64Graph(ir.to_proto(made.model))
    frames = np.random.default_rng(0).standard_normal((2, FRAMES + LATE, 1, 4))
    runs = []
    for begin in (0, LATE):
        state = {s.name: np.zeros(s.at(batch=2), s.dtype) for s in made.states}
        outputs = []
        for t in range(begin, FRAMES + LATE):
            now = one.run({"x": frames[:, t], **state})
            state = {name: now[AFTER + name.removeprefix(BEFORE)] for name in state}
            outputs.append(now["y"])
        runs.append(np.stack(outputs[LATE - begin :]))
    return [not np.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in zip(*runs, strict=True)]


def made(text: str, weights: dict[str, np.ndarray]) -> StepGraph:
    return step_graph(*graph(text, weights, least=3), HORIZON)


@pytest.mark.parametrize("name", FORGET)
def test_from_the_warm_up_on_it_is_the_same(name: str) -> None:
    text, weights, frames = FORGET[name]
    step = made(text, weights)
    assert step.warm_up == frames
    assert differs(step) == [t < frames for t in range(FRAMES)]


@pytest.mark.parametrize("name", REMEMBER)
def test_what_remembers_for_ever_has_no_warm_up(name: str) -> None:
    step = made(*REMEMBER[name])
    assert step.warm_up is None
    assert differs(step)[-1]


def test_a_ring_that_is_told_shorter_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the number is made of can be wrong, and the comparison says so."""
    right = step_graphs.warm_up
    shorter = lambda nodes, states, outputs: right(  # noqa: E731
        nodes, [replace(s, frames=max(s.frames - 1, 0)) for s in states], outputs
    )
    monkeypatch.setattr(step_graphs, "warm_up", shorter)
    text, weights, _ = FORGET["two convolutions"]
    step = made(text, weights)
    assert step.warm_up is not None
    assert differs(step) != [t < step.warm_up for t in range(FRAMES)]


class Placed(nn.Module):
    """Frames and their learned positions, under a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(40, 3))
        self.conv = nn.Conv1d(3, 2, 3)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        placed = (frames + self.rows[: frames.shape[1]]).transpose(1, 2)
        return self.conv(functional.pad(placed, (2, 0))).transpose(1, 2)


def test_a_stream_that_ends_before_it_forgets_has_no_warm_up() -> None:
    """Of the frames behind the table all have its last row, but none of them is taken."""
    declared = declare_factory(Placed, "m.py:Placed", ("frames=batch,seq,3",), batch="1", seq="1:9:32")
    told = declare_stream(*declared).sequences
    assert told is not None and (told.frames, told.warm_up) == (40, None)
