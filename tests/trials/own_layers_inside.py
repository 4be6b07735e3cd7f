# source: our layers inside a module become custom nodes
# wanted: window attention for a dynamic length, with a conv front end, from graphs.sliding_window_attention.
# right:  custom node, no mask in the graph, every length in range, and TensorRT-RTX fused.
import torch
from torch import nn

from temport.graphs import sliding_window_attention


class Windowed(nn.Module):
    def __init__(self, features=20, width=64):
        super().__init__()
        self.front = nn.Conv1d(features, width, 3, padding=1)
        self.attend = sliding_window_attention(num_heads=4, head_dim=width // 4, window_size=16)
        self.head = nn.Linear(width, 4)

    def forward(self, frames):
        x = torch.relu(self.front(frames.transpose(1, 2))).transpose(1, 2)
        return self.head(x + self.attend(x))


def make():
    return Windowed()


def example(batch, seq, dtype=torch.float32):
    return (torch.randn(batch, seq, 20, dtype=dtype),)
