"""Attention in several forms in one module: each keeps what it sees, and behind the horizon all of it is limited."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest
import torch
from streaming_graph.module_streams import FRAMES, drawn, given, ran, traced
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, softplus

from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.streaming.limited import limited
from temport.exporter.streaming.refusal import NotCausal
from temport.exporter.streaming.walk import step_graph

WIDTH, HORIZON, WINDOW = 4, 5, 7


def age(x: Tensor) -> Tensor:
    """`[seq, seq]`: how many frames before the query a key is."""
    place = torch.arange(x.shape[1], device=x.device)
    return place[:, None] - place[None]


class Mixed(nn.Module):
    """Slopes by distance over all frames and in a window that is made of the same mask, a kernel, learned rows, a mask
    of keys; `limit` makes all frames before the last so many.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.embed, self.head = nn.Linear(3, WIDTH), nn.Linear(WIDTH, 2)
        self.near, self.far, self.kernel, self.marked = (nn.Linear(WIDTH, 3 * WIDTH) for _ in range(4))
        self.rows = nn.Parameter(torch.randn(3, WIDTH))
        self.memory = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.embed(frames)
        causal, old = age(x) >= 0, age(x)
        seen = causal if self.limit is None else causal & (old < self.limit)
        x = x + sloped(self.far(x), old, seen)
        x = x + sloped(self.near(x), old, causal & (old < WINDOW))
        q, k, v = self.kernel(x).chunk(3, -1)
        weights = torch.where(seen, softplus(q @ k.transpose(1, 2)), 0.0)
        x = x + weights @ v / (weights.sum(-1, keepdim=True) + 1e-6)
        rows = self.rows.expand(len(x), -1, -1)
        x = x + self.memory(x, rows, rows, need_weights=False)[0]
        q, k, v = (z.unsqueeze(1) for z in self.marked(x).chunk(3, -1))
        return self.head(
            x + scaled_dot_product_attention(q, k, v, attn_mask=(x[..., 0] < 0.5)[:, None, None] & seen)[:, 0]
        )


def sloped(qkv: Tensor, old: Tensor, seen: Tensor) -> Tensor:
    q, k, v = qkv.chunk(3, -1)
    scores = q @ k.transpose(1, 2) / math.sqrt(WIDTH) + -0.25 * old
    return torch.softmax(scores.masked_fill(~seen, float("-inf")), -1) @ v


def test_behind_the_horizon_every_form_sees_as_many_frames() -> None:
    """The stream and its truth against the module that says the window itself, but where it has one of its own."""
    declaration, module, model = traced(Mixed)
    step, frames = step_graph(model, declaration, HORIZON), drawn()
    own_window = Mixed(HORIZON).double().eval()
    own_window.load_state_dict(module.state_dict())
    right = given(own_window, frames)
    np.testing.assert_allclose(ran(step, frames), right, atol=1e-6)
    truth = Float64Graph(ir.to_proto(limited(model, HORIZON, declaration))).run({"frames": frames})["output"]
    np.testing.assert_allclose(truth, right, atol=1e-6)
    assert np.abs(right - given(module, frames)).max() > 1e-3


class Marked(nn.Module):
    """Attention in one form, in front of it what is late or not."""

    def __init__(self, form: str, late: bool) -> None:
        super().__init__()
        self.form, self.late, self.embed, self.qkv = (
            form,
            late,
            nn.Linear(3, WIDTH),
            nn.Linear(WIDTH, 3 * WIDTH),
        )
        self.front, self.token = nn.Conv1d(WIDTH, WIDTH, 5, padding=2), nn.Parameter(torch.randn(1, 1, WIDTH))
        self.ask = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.embed(frames)
        seen, marked = age(x) >= 0, (frames[..., 0] < 0.5)[:, None, None]
        if self.late:
            x = self.front(x.transpose(1, 2)).transpose(1, 2)
        if self.form == "behind a token":
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        q, k, v = (z.unsqueeze(1) for z in self.qkv(x).chunk(3, -1))
        match self.form:
            case "kernel":
                weights = torch.where(seen, softplus(q @ k.transpose(-1, -2)), 0.0)
                return (weights @ v / (weights.sum(-1, keepdim=True) + 1e-6))[:, 0]
            case "behind a token":
                return self.ask(x[:, -1:], x, x, need_weights=False)[0][:, 0]
            case "marked, of the last frame":
                last = self.qkv(self.embed(frames[:, -1:])).chunk(3, -1)[0].unsqueeze(1)
                return scaled_dot_product_attention(last, k, v, attn_mask=marked)[:, 0, 0]
            case _:
                seen = (age(x) >= -2) & (age(x) < 3)
                return scaled_dot_product_attention(q, k, v, attn_mask=marked & seen)[:, 0]


@pytest.mark.parametrize(
    "form, late, layer", [("kernel", True, "front"), ("marked, ahead", False, "attention")]
)
def test_lateness_goes_through_every_form(form: str, late: bool, layer: str) -> None:
    declaration, module, model = traced(lambda: Marked(form, late))
    with pytest.raises(NotCausal, match="a delay of 2 frames would make it causal") as refused:
        step_graph(model, declaration, 32)
    assert layer in str(refused.value)
    frames = drawn()
    found = ran(step_graph(model, declaration, 32, delay=2), frames)
    np.testing.assert_allclose(found[:, 2:], given(module, frames)[:, :-2], atol=1e-6)


@pytest.mark.parametrize("form", ["marked, of the last frame", "behind a token"])
def test_the_last_frame_asks_all(form: str) -> None:
    declaration, module, model = traced(lambda: Marked(form, False))
    frames = drawn()
    found = ran(step_graph(model, declaration, 32), frames)
    for t in range(FRAMES):
        np.testing.assert_allclose(found[:, t], given(module, frames[:, : t + 1]), atol=1e-6)


def test_the_last_frame_cannot_ask_what_comes_late() -> None:
    declaration, _, model = traced(lambda: Marked("marked, of the last frame", True))
    with pytest.raises(NotCausal, match=r"layer front .* needs the frames that come after"):
        step_graph(model, declaration, 32)
