"""The models of `temport bench streams` and `temport bench drift`: torch modules that know nothing of streams.

Each takes `frames [batch, seq, features]` and gives an output at every frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW, HEADS, KERNEL, DILATIONS = 60, 4, 3, (1, 2, 4, 8)
FRAMES = "frames"


class Recurrent(nn.Module):
    """A policy of one LSTM or GRU."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], features: int, width: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(features, width), nn.Linear(width, 8)
        self.cells = kind(width, width, batch_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        hidden, _ = self.cells(torch.relu(self.embed(frames)))
        return torch.tanh(self.head(hidden))


class Tcn(nn.Module):
    """Causal convolutions of three frames with residuals."""

    def __init__(self, features: int, width: int, dilations: tuple[int, ...] = DILATIONS) -> None:
        super().__init__()
        self.dilations = dilations
        self.embed, self.head = nn.Linear(features, width), nn.Linear(width, 8)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, KERNEL, dilation=d) for d in dilations)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.embed(frames).transpose(1, 2)
        for conv, dilation in zip(self.convs, self.dilations, strict=True):
            x = x + torch.relu(conv(F.pad(x, ((KERNEL - 1) * dilation, 0))))
        return self.head(x.transpose(1, 2))


class Attention(nn.Module):
    """A transformer block whose frames see the last 60, by a mask made of positions."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(features, width), nn.Linear(width, 8)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.embed(frames)
        batch, seq, width = x.shape
        place = torch.arange(seq, device=x.device)
        back = place[:, None] - place[None]
        qkv = self.qkv(self.norms[0](x)).chunk(3, -1)
        q, k, v = (t.view(batch, seq, HEADS, -1).transpose(1, 2) for t in qkv)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=(back >= 0) & (back < WINDOW))
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, seq, width))
        return self.head(x + self.down(F.gelu(self.up(self.norms[1](x)))))


class Mean(nn.Module):
    """Each frame beside the mean of all so far."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(features, width), nn.Linear(2 * width, 8)

    def forward(self, frames: Tensor) -> Tensor:
        x = torch.relu(self.embed(frames))
        count = torch.arange(1, x.shape[1] + 1, device=x.device).to(x)
        return self.head(torch.cat([x, x.cumsum(1) / count[:, None]], -1))


class Mixed(nn.Module):
    """Convolutions, then an LSTM, then attention in a window."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.front, self.above = Tcn(features, width), Attention(width, width)
        self.cells = nn.LSTM(8, width, batch_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        return self.above(self.cells(self.front(frames))[0])


@dataclass(frozen=True)
class StreamModel:
    """A model of a benchmark.

    build    (features, width) -> module
    forgets  frames after which nothing is left of a frame that changes float64; None: it never forgets
    """

    name: str
    build: Callable[[int, int], nn.Module]
    forgets: int | None


MODELS = (
    StreamModel("LSTM policy", lambda features, width: Recurrent(nn.LSTM, features, width), 2000),
    StreamModel("GRU policy", lambda features, width: Recurrent(nn.GRU, features, width), 2000),
    StreamModel("convolutions", lambda features, width: Tcn(features, width, (1,) * 4), 64),
    StreamModel("dilated convolutions", Tcn, 64),
    StreamModel("attention in a window", Attention, WINDOW),
    StreamModel("mean so far", Mean, None),
    StreamModel("convolutions, LSTM, attention", Mixed, 2100),
)
