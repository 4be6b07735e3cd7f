"""Sinusoidal positional encoding with a hyperbolic frequency ladder, sine only."""

from __future__ import annotations

import torch
from torch import Tensor

from temport.graphs.baking import LengthTable


def sinusoid(length: int, width: int, scale: float, device: torch.device | None = None) -> Tensor:
    """float64 `[length, width]`: sin(t / (1 + d*scale)).

    Always float64: a float32 angle of 1000 radians is already off by 3e-5.
    """
    t = torch.arange(length, dtype=torch.float64, device=device)
    d = torch.arange(width, dtype=torch.float64, device=device)
    return torch.sin(t[:, None] / (1 + d * scale))


def add_positional_encoding(x: Tensor, *, scale: float = 0.01) -> Tensor:
    """x `[batch, seq, width]` plus the encoding of its positions, in the dtype of x."""
    return x + sinusoid(x.shape[1], x.shape[2], scale, x.device).to(x.dtype)


class PositionalEncoding(LengthTable):
    """The encoding of a fixed width, `[n, width]`."""

    def __init__(self, width: int, *, scale: float = 0.01) -> None:
        super().__init__()
        self.width, self.scale = width, scale

    def compute(self, length: int) -> Tensor:
        return sinusoid(length, self.width, self.scale, self.like.device)
