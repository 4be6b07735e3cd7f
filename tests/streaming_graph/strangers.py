"""Modules that know nothing of streams."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Policy(nn.Module):
    """Frames and a static goal -> an action of the last frame, a value of every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(7)
        self.memory = nn.GRU(7, 6, batch_first=True)
        self.actor = nn.Linear(6, 2)
        self.critic = nn.Linear(6, 1)

    def forward(self, frames: Tensor, goal: Tensor) -> dict[str, Tensor]:
        goals = goal[:, None].expand(-1, frames.shape[1], -1)
        hidden, _ = self.memory(self.norm(torch.cat([frames, goals], dim=-1)))
        return {"action": torch.tanh(self.actor(hidden[:, -1])), "value": self.critic(hidden)}


class Detector(nn.Module):
    """Dilated causal convolutions, then attention over all frames so far, of the last frame alone."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Conv1d(4, 6, 3, padding=2)
        self.far = nn.Conv1d(6, 6, 3)
        self.place = nn.Embedding(30, 6)
        self.qkv = nn.Linear(6, 18)
        self.head = nn.Linear(6, 3)

    def forward(self, frames: Tensor) -> Tensor:
        x = torch.relu(self.near(frames.transpose(1, 2))[:, :, :-2])
        x = self.far(functional.pad(x, (4, 0))[:, :, 2:]).transpose(1, 2)
        length = x.shape[1]
        x = x + self.place(torch.arange(length, device=x.device))
        q, k, v = (z.unflatten(-1, (2, 3)).transpose(1, 2) for z in self.qkv(x).chunk(3, dim=-1))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(y.transpose(1, 2).flatten(2)[:, -1])


class Tagger(nn.Module):
    """It reads the frames in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(4, 5, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 2)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.encoder(frames)[0])


class Smoother(nn.Module):
    """A convolution that is centred on its frame."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(4, 4, 5, padding=2), nn.ReLU())

    def forward(self, frames: Tensor) -> Tensor:
        return self.body(frames.transpose(1, 2)).transpose(1, 2)
