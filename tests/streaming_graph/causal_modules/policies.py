"""Whole networks: positions, several inputs and outputs, normalisers inside, deep mixtures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.streaming_graph.causal_modules.attention import Attention, MultiHead
from tests.streaming_graph.causal_modules.averages import Along, Mean
from tests.streaming_graph.causal_modules.case import FEATURES, WIDTH, CausalCase, between
from tests.streaming_graph.causal_modules.convolutions import Conv, Residual
from tests.streaming_graph.causal_modules.recurrences import Hidden

LONGEST, GOAL = 64, 2


class LearnedPositions(nn.Module):
    """A row of a table for every frame; not causal: counted from the last frame."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal, self.table = causal, nn.Parameter(torch.randn(LONGEST, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.table[: x.shape[1]]
        return x + (rows if self.causal else rows.flip(0))


class Waves(Along):
    """Sines of the frame's number; not causal: of its part of the whole."""

    def forward(self, x: Tensor) -> Tensor:
        place = torch.arange(x.shape[1], device=x.device).to(x)
        place = place if self.causal else place / x.shape[1]
        angle = place[:, None] * 10.0 ** -torch.arange(WIDTH // 2, device=x.device).to(x)
        return x + torch.cat([angle.sin(), angle.cos()], -1)


class Goal(nn.Module):
    """Frames and a goal that has no time."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.embed, self.film = nn.Linear(FEATURES, WIDTH), nn.Linear(GOAL, 2 * WIDTH)
        self.memory, self.head = Hidden(nn.GRU, causal), nn.Linear(WIDTH, 2)

    def forward(self, frames: Tensor, goal: Tensor) -> Tensor:
        scale, shift = self.film(goal).unsqueeze(1).chunk(2, -1)
        return self.head(self.memory(self.embed(frames) * scale + shift))


class TwoStreams(nn.Module):
    """Two sequences of the same frames; not causal: one of them sees the next frame."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(FEATURES, WIDTH), nn.Linear(GOAL, WIDTH)
        self.smooth, self.memory = Conv(causal), Hidden(nn.LSTM, True)
        self.head = nn.Linear(2 * WIDTH, 2)

    def forward(self, frames: Tensor, sounds: Tensor) -> Tensor:
        left, right = self.smooth(self.left(frames)), self.memory(self.right(sounds))
        return self.head(torch.cat([left, right], -1))


class Value(nn.Module):
    """A number for every frame; not causal: for the mean of all."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal, self.score = causal, nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(x if self.causal else x.mean(1, keepdim=True) + 0 * x).squeeze(-1)


class TwoHeads(nn.Module):
    """Actions and values of every frame."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.embed, self.memory = nn.Linear(FEATURES, WIDTH), Hidden(nn.LSTM, True)
        self.actor, self.value = nn.Linear(WIDTH, 2), Value(causal)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        hidden = self.memory(self.embed(frames))
        return {"action": torch.tanh(self.actor(hidden)), "value": self.value(hidden)}


class Scaled(nn.Module):
    """Readings in sensor units -> normal, cut at five; not causal: by the window's own mean and deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.register_buffer("mean", torch.tensor([0.5, -2.0, 30.0]))
        self.register_buffer("deviation", torch.tensor([0.1, 4.0, 12.0]))

    def forward(self, x: Tensor) -> Tensor:
        if self.causal:
            return ((x - self.mean) / self.deviation).clamp(-5, 5)
        return (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True, unbiased=False) + 0.1)


class Policy(nn.Module):
    """A controller: normaliser, LSTM, actions in the units of its motors at the last frame."""

    span: Tensor

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.normalise, self.embed = Scaled(causal), nn.Linear(FEATURES, WIDTH)
        self.memory, self.head = Hidden(nn.LSTM, True), nn.Linear(WIDTH, 2)
        self.register_buffer("span", torch.tensor([0.3, 1.2]))

    def forward(self, frames: Tensor) -> Tensor:
        hidden = self.memory(F.elu(self.embed(self.normalise(frames))))
        return self.span * torch.tanh(self.head(hidden[:, -1]))


CASES = {
    "learned positions": CausalCase(lambda causal: between(place=LearnedPositions(causal)), "place"),
    "waves of positions": CausalCase(lambda causal: between(place=Waves(causal)), "place"),
    "a goal": CausalCase(Goal, "memory.cells", shapes=(f"frames=batch,seq,{FEATURES}", f"goal=batch,{GOAL}")),
    "two sequences": CausalCase(
        TwoStreams, "smooth.conv", 1, (f"frames=batch,seq,{FEATURES}", f"sounds=batch,seq,{GOAL}")
    ),
    "two heads": CausalCase(TwoHeads, "value"),
    "normaliser and scaling": CausalCase(Policy, "normalise", last=True),
    "conv, then lstm": CausalCase(
        lambda causal: between(conv=Conv(causal), act=nn.ReLU(), lstm=Hidden(nn.LSTM, True)), "conv.conv", 1
    ),
    "lstm, then attention": CausalCase(
        lambda causal: between(
            lstm=Hidden(nn.LSTM, True), norm=nn.RMSNorm(WIDTH), attention=MultiHead(causal)
        ),
        "attention.attend",
        horizon=True,
    ),
    "convs, attention, gru and mean": CausalCase(
        lambda causal: between(
            conv=Residual(True, 2), attention=Attention(True), gru=Hidden(nn.GRU, True), mean=Mean(causal)
        ),
        "mean",
        horizon=True,
    ),
}
