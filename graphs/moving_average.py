"""Exponential moving average with a learned decay per channel, as two short causal convolutions.

h_t = a h_{t-1} + (1-a) p_t with h_{-1} = 0 unrolls to h_t = sum_s (1-a) a^s p_{t-s}: a depthwise convolution
whose kernel depends on the decay alone, so it runs in parallel over time and is a constant once the weights
are fixed. An age s = i + m j with i < m has a^s = a^i a^(m j), so the kernel of n taps is one of m = ceil(sqrt(n))
taps followed by one of m taps that are m frames apart: 2 sqrt(n) products per frame in place of n.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from temport.graphs.baking import LengthTable


class DecayKernel(LengthTable):
    """Taps of the two convolutions `[2, channels, 1, 1, m]`, oldest first, with a = sigmoid(alpha): tap m-1-i of
    the first is (1-a) a^i, tap m-1-j of the second a^(m j).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))

    def compute(self, length: int) -> Tensor:
        taps = 1 + math.isqrt(length - 1)
        alpha = self.alpha.double()[:, None, None, None]
        age = torch.arange(taps, dtype=torch.float64, device=alpha.device).flip(0)
        # log a = logsigmoid(alpha): powers of a stay exact and differentiable where a nears 0 or 1.
        log_decay = functional.logsigmoid(alpha)
        near = torch.sigmoid(-alpha) * torch.exp(age * log_decay)
        return torch.stack((near, torch.exp(taps * age * log_decay)))

    def cut(self, table: Tensor, length: int) -> Tensor:
        """The whole kernel. Frames before the first are zeros, so the taps that reach beyond change nothing,
        and a graph with a symbolic length keeps convolutions of fixed size."""
        return table


class ExponentialMovingAverage(nn.Module):
    """Down to `ema_dim` channels, averaged over the past, and back: `[batch, seq, hidden]` -> the same
    shape.
    """

    def __init__(self, hidden_size: int, ema_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(hidden_size, ema_dim)
        self.kernel = DecayKernel(ema_dim)
        self.out = nn.Linear(ema_dim, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        # Two axes, [batch, ema_dim, 1, seq]: runtimes are slow at depthwise convolutions over one.
        h = self.proj(x).unsqueeze(1).permute(0, 3, 1, 2)
        near, far = self.kernel(x.shape[1]).unbind(0)
        taps, channels = near.shape[-1], near.shape[0]
        h = functional.conv2d(functional.pad(h, (taps - 1, 0)), near, groups=channels)
        h = functional.pad(h, (taps * (taps - 1), 0))
        h = functional.conv2d(h, far, groups=channels, dilation=(1, taps))
        return self.out(h.permute(0, 2, 3, 1).squeeze(1))
