# source: Rikorose/DeepFilterNet#430, isaac-sim/IsaacLab#3008 (a GRU layer of one's own that streams)
# wanted: a GRU policy as a step model: a layer of its own around nn.GRU, forward_sequence(frames) for every frame beside a
#         forward of the last, `--streaming --seq 60`, and the same module as a whole-sequence export.
# right:  both export; the stream equals the sequence at every frame, for any number of frames.
import torch
from torch import nn


class GruLayer(nn.Module):
    def __init__(self, features, hidden):
        super().__init__()
        self.gru = nn.GRU(features, hidden, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0]


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.layer, self.head = nn.Linear(10, 24), GruLayer(24, 24), nn.Linear(24, 4)

    def forward_sequence(self, frames):
        return self.head(self.layer(torch.relu(self.embed(frames))))

    def forward(self, frames):
        return self.forward_sequence(frames)[:, -1]


def make():
    return Policy()


def example(batch, seq, dtype=torch.float32):
    return (torch.randn(batch, seq, 10, dtype=dtype),)
