"""Convolutions and pooling along time, padded on the left; and differences of frames."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.streaming_graph.causal_modules.case import WIDTH, CausalCase, between


class Conv(nn.Module):
    """A convolution of `kernel` frames; not causal: as many frames before as after."""

    def __init__(self, causal: bool, kernel: int = 3, dilation: int = 1, outputs: int = WIDTH) -> None:
        super().__init__()
        reach = (kernel - 1) * dilation
        self.pad = (reach, 0) if causal else (reach // 2, reach // 2)
        self.conv = nn.Conv1d(WIDTH, outputs, kernel, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x.transpose(1, 2), self.pad)).transpose(1, 2)


class Residual(nn.Module):
    """`x` and what a dilated convolution makes of it."""

    def __init__(self, causal: bool, dilation: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.LayerNorm(WIDTH), Conv(causal, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.conv(self.norm(x)))


class Cut(nn.Module):
    """Depthwise, padded on both sides by torch and cut to the first frames; not causal: to the last."""

    def __init__(self, causal: bool, kernel: int = 4) -> None:
        super().__init__()
        self.causal, self.extra = causal, kernel - 1
        self.conv = nn.Conv1d(WIDTH, WIDTH, kernel, padding=self.extra, groups=WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x.transpose(1, 2))
        y = y[..., : x.shape[1]] if self.causal else y[..., self.extra :]
        return cast(Tensor, F.silu(y).transpose(1, 2))


class Gated(nn.Module):
    """A gated convolution and a batch normalisation of its features."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.conv = Conv(causal, kernel=5, outputs=2 * WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.norm.running_mean = torch.randn(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.glu(self.conv(x), -1).transpose(1, 2)).transpose(1, 2)


class Pool(nn.Module):
    """The mean of three frames; not causal: the frame between the one before and the one after."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.pool = nn.AvgPool1d(3, stride=1, padding=0 if causal else 1)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.transpose(1, 2)
        return self.pool(F.pad(rows, (2, 0)) if self.causal else rows).transpose(1, 2)


class Difference(nn.Module):
    """A frame beside what changed since the one before; not causal: until the one after."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal, self.join = causal, nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        change = x - F.pad(x, (0, 0, 1, 0))[:, :-1] if self.causal else F.pad(x, (0, 0, 0, 1))[:, 1:] - x
        return cast(Tensor, self.join(torch.cat([x, change], -1)))


CASES = {
    "conv": CausalCase(lambda causal: between(conv=Conv(causal)), "conv.conv", 1),
    "dilated convs with residuals": CausalCase(
        lambda causal: between(first=Residual(True, 1), second=Residual(causal, 2), third=Residual(True, 4)),
        "second.conv.conv",
        2,
    ),
    "depthwise conv cut": CausalCase(lambda causal: between(conv=Cut(causal)), "conv", 3),
    "gated conv": CausalCase(lambda causal: between(glu=Gated(causal)), "glu.conv.conv", 2),
    "pool": CausalCase(lambda causal: between(pool=Pool(causal)), "pool.pool", 1),
    "first difference": CausalCase(lambda causal: between(change=Difference(causal)), "change", 1),
}
