"""Exponential moving average with a learned decay per channel, as a causal convolution.

h_t = a h_{t-1} + (1-a) p_t with h_{-1} = 0 unrolls to h_t = sum_s (1-a) a^s p_{t-s}: a depthwise convolution
whose kernel depends on the decay alone, so it runs in parallel over time and is a constant once the weights
are fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphs.baking import LengthTable
from graphs.streaming import Memory, Stateful, StateSpec


class DecayKernel(LengthTable):
    """Convolution taps `[channels, 1, n]`, oldest first: tap n-1-s is (1-a) a^s with a = sigmoid(alpha)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))

    def compute(self, length: int) -> Tensor:
        alpha = self.alpha.double()[:, None, None]
        age = torch.arange(length, dtype=torch.float64, device=alpha.device).flip(0)
        # log a = logsigmoid(alpha): powers of a stay exact and differentiable where a nears 0 or 1.
        return torch.sigmoid(-alpha) * torch.exp(age * functional.logsigmoid(alpha))

    def cut(self, table: Tensor, length: int) -> Tensor:
        """The whole kernel. Frames before the first are zeros, so the taps that reach beyond change nothing,
        and a graph with a symbolic length keeps a convolution of fixed size."""
        return table


class ExponentialMovingAverage(nn.Module, Stateful):
    """Down to `ema_dim` channels, averaged over the past, and back: `[batch, seq, hidden]` -> the same
    shape.
    """

    def __init__(self, hidden_size: int, ema_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(hidden_size, ema_dim)
        self.kernel = DecayKernel(ema_dim)
        self.out = nn.Linear(ema_dim, hidden_size)

    def state_specs(self) -> tuple[StateSpec, ...]:
        return (StateSpec("average", (1, self.proj.out_features)),)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        if memory is not None:
            decay = torch.sigmoid(self.kernel.alpha.double()).to(x.dtype)
            share = torch.sigmoid(-self.kernel.alpha.double()).to(x.dtype)
            average = decay * memory.read(self, "average") + share * self.proj(x)
            memory.write(self, "average", average)
            return self.out(average)
        p = self.proj(x).transpose(1, 2)  # [batch, ema_dim, seq]
        taps = self.kernel(x.shape[1])
        past = functional.pad(p, (taps.shape[-1] - 1, 0))
        h = functional.conv1d(past, taps, groups=p.shape[1])
        return self.out(h.transpose(1, 2))
