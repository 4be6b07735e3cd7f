"""LSTM, GRU and RNN: alone, stacked, with a start of their own, in deep networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.streaming_graph.causal_modules.case import FEATURES, WIDTH, CausalCase, between


class Hidden(nn.Module):
    """The hidden states of a recurrence, `[batch, seq, WIDTH]`; both directions where it is not causal."""

    def __init__(self, kind: type[nn.RNNBase], causal: bool, **options: int) -> None:
        super().__init__()
        hidden = WIDTH if causal else WIDTH // 2
        self.cells = kind(WIDTH, hidden, batch_first=True, bidirectional=not causal, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.cells(x)[0]


class Turned(nn.Module):
    """A GRU and its input; not causal: from the newest frame to the oldest."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.norm, self.cells = nn.LayerNorm(WIDTH), nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        normal = self.norm(x)
        if self.causal:
            return x + self.cells(normal)[0]
        return x + self.cells(normal.flip(1))[0].flip(1)


class LearnedStart(nn.Module):
    """A GRU whose first state is a parameter; not causal: the mean of all frames."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.start = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.cells = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        start = self.start.expand(1, x.shape[0], WIDTH).contiguous()
        return self.cells(x, start if self.causal else x.mean(1)[None])[0]


class LastFrame(nn.Module):
    """A classifier of what was seen so far: two layers of LSTM, and the scores of the last frame alone."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.layers = Hidden(nn.LSTM, causal, num_layers=2)
        self.embed, self.head = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, 2)

    def forward(self, frames: Tensor) -> Tensor:
        hidden = self.layers(torch.relu(self.embed(frames)))
        return self.head(hidden[:, -1])


CASES = {
    "lstm": CausalCase(lambda causal: between(lstm=Hidden(nn.LSTM, causal)), "lstm.cells"),
    "gru": CausalCase(lambda causal: between(gru=Hidden(nn.GRU, causal)), "gru.cells"),
    "rnn": CausalCase(lambda causal: between(rnn=Hidden(nn.RNN, causal)), "rnn.cells"),
    "lstm over gru": CausalCase(
        lambda causal: between(
            below=Hidden(nn.GRU, True), act=nn.Tanh(), above=Hidden(nn.LSTM, causal, num_layers=2)
        ),
        "above.cells",
    ),
    "gru with a residual": CausalCase(
        lambda causal: between(first=Turned(True), second=Turned(causal)), "second"
    ),
    "gru with a learned start": CausalCase(lambda causal: between(gru=LearnedStart(causal)), "gru"),
    "lstm, last frame": CausalCase(LastFrame, "layers.cells", last=True),
}
