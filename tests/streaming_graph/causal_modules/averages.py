"""Sums, means and maxima of all frames so far, and products with matrices along time."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from tests.streaming_graph.causal_modules.attention import back
from tests.streaming_graph.causal_modules.case import WIDTH, CausalCase, between


class Along(nn.Module):
    """A layer without weights that is causal or not."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal


class Mean(Along):
    """Of all frames so far; not causal: of all."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.causal:
            return x - x.mean(1, keepdim=True)
        count = torch.arange(1, x.shape[1] + 1, device=x.device).to(x)
        return x - x.cumsum(1) / count[:, None]


class Largest(Along):
    """The largest value so far; not causal: of all frames."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (torch.cummax(x, 1).values if self.causal else x.amax(1, keepdim=True))


class LargestOfPairs(Along):
    """The same, of every pair of frames; not causal: of all frames."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.causal:
            return x + x.amax(1, keepdim=True)
        later = back(x) < 0
        pairs = x[:, None].expand(-1, x.shape[1], -1, -1)
        return x + pairs.masked_fill(later[..., None], float("-inf")).amax(2)


class Normal(Along):
    """Mean and deviation of all frames so far taken away; not causal: those of all frames."""

    def forward(self, x: Tensor) -> Tensor:
        if self.causal:
            count = torch.arange(1, x.shape[1] + 1, device=x.device).to(x)[:, None]
            mean, square = x.cumsum(1) / count, (x * x).cumsum(1) / count
        else:
            mean, square = x.mean(1, keepdim=True), (x * x).mean(1, keepdim=True)
        return (x - mean) / torch.sqrt((square - mean * mean).clamp(min=0) + 0.1)


class Pooled(nn.Module):
    """Frames weighed by a score of each; not causal: by a softmax over time."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal, self.score = causal, nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        score = torch.tanh(self.score(x))
        if not self.causal:
            return x + (torch.softmax(score, 1) * x).sum(1, keepdim=True)
        weight = torch.exp(score)
        return x + (weight * x).cumsum(1) / weight.cumsum(1)


class Decay(nn.Module):
    """An exponential average as a product with a matrix of its powers; not causal: towards both sides."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal, self.keep = causal, nn.Parameter(torch.tensor(0.8))

    def forward(self, x: Tensor) -> Tensor:
        powers = (1 - self.keep) * self.keep ** back(x).abs()
        return cast(Tensor, (powers.tril() if self.causal else powers) @ x)


class Decays(nn.Module):
    """A decay of its own for every feature, `[WIDTH, seq, seq]`; not causal: towards both sides."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal, self.rate = causal, nn.Parameter(torch.rand(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        powers = torch.exp(-self.rate[:, None, None] * back(x).abs())
        matrix = powers.tril() if self.causal else powers
        return (matrix @ x.transpose(1, 2).unsqueeze(-1)).squeeze(-1).transpose(1, 2)


class Taps(nn.Module):
    """Four frames weighed by a banded matrix; not causal: one of them is yet to come."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.first, self.taps = 0 if causal else -1, nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        lag = back(x) - self.first
        band = (lag >= 0) & (lag < 4)
        return cast(Tensor, torch.where(band, self.taps[lag.clamp(0, 3)], 0.0) @ x)


CASES = {
    "running mean": CausalCase(lambda causal: between(mean=Mean(causal)), "mean"),
    "running maximum": CausalCase(lambda causal: between(largest=Largest(causal)), "largest"),
    "largest of pairs": CausalCase(lambda causal: between(largest=LargestOfPairs(causal)), "largest"),
    "running normalisation": CausalCase(lambda causal: between(normal=Normal(causal)), "normal"),
    "weighed pooling": CausalCase(lambda causal: between(pool=Pooled(causal)), "pool"),
    "decay matrix": CausalCase(lambda causal: between(decay=Decay(causal)), "decay"),
    "decay matrices": CausalCase(lambda causal: between(decay=Decays(causal)), "decay"),
    "banded matrix": CausalCase(lambda causal: between(taps=Taps(causal)), "taps", 1),
}
