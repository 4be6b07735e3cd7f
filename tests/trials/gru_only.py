# the state stays inside (zero at the start of every window) so that there is one output.
# wanted / right: features [batch, seq, 12] for every batch and seq. A GRU is what many on-device models have.
import torch
from torch import nn


class Gru(nn.Module):
    def __init__(self, features=20, hidden=32):
        super().__init__()
        self.gru = nn.GRU(features, hidden, num_layers=2, batch_first=True)
        self.head = nn.Linear(hidden, 12)

    def forward(self, frames):
        return self.head(self.gru(frames)[0])


def make():
    return Gru()


def example(batch, seq, dtype=torch.float32):
    return (torch.randn(batch, seq, 20, dtype=dtype),)
