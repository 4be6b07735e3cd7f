# the dataclass alone (postponed annotations), no neighbour file. A loader that does not put the module
#         in sys.modules breaks @dataclass with "'NoneType' object has no attribute '__dict__'".
# right:  exports.
from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass
class Config:
    features: int = 12
    widths: list[int] = field(default_factory=lambda: [32, 16])


class Net(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        sizes = [config.features, *config.widths]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))

    def forward(self, frames):
        for layer in self.layers:
            frames = torch.tanh(layer(frames))
        return frames


def make():
    return Net(Config())


def example(batch, seq, dtype=torch.float32):
    return (torch.randn(batch, seq, 12, dtype=dtype),)
