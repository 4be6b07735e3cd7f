# source: huggingface/optimum#1166 (custom modelling code), isaac-sim/IsaacGymEnvs#112, DLR-RM/stable-baselines3#464
# wanted: the module of a real project: it imports a file beside it, has a dataclass config (with postponed
#         annotations), and its trained weights are a torch.save'd state_dict, best.pt.
# right:  `--module 20_project/model.py:make` works from any folder, without PYTHONPATH; --weights best.pt loads
#         (weights_only) or says in one line how to convert; a factory that loads the checkpoint itself works too.
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from layers import Residual
from torch import nn


@dataclass(frozen=True)
class Config:
    features: int = 12
    width: int = 32
    depth: int = 2


class Net(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.embed = nn.Linear(config.features, config.width)
        self.blocks = nn.ModuleList(Residual(config.width) for _ in range(config.depth))
        self.attention = nn.MultiheadAttention(config.width, 4, batch_first=True)
        self.head = nn.Linear(config.width, 3)

    def forward(self, frames):
        x = self.embed(frames)
        for block in self.blocks:
            x = block(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(x.mean(1))


def make():
    return Net(Config())


def make_trained():
    net = Net(Config())
    net.load_state_dict(torch.load(Path(__file__).parent / "best.pt", weights_only=True))
    return net


def example(batch, seq, dtype=torch.float32):
    return (torch.randn(batch, seq, 12, dtype=dtype),)
