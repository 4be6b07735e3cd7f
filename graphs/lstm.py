"""LSTM layer (Hochreiter & Schmidhuber 1997) with one bias per gate and a zero initial state."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from graphs.options import check_counts


class LSTM(nn.Module):
    """`[batch, seq, input_size]` -> `[batch, seq, hidden_size]`.

    Gates are stacked in the order i, f, g, o. torch's own layer adds two biases, of which only the sum
    matters; here the second is fixed at zero, so that each value of a trained model is one parameter.
    """

    recurrent_bias: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_counts(input_size=input_size, hidden_size=hidden_size)
        self.hidden_size = hidden_size
        bound = 1 / math.sqrt(hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size))
        self.register_buffer("recurrent_bias", torch.zeros(4 * hidden_size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        start = x.new_zeros(1, x.shape[0], self.hidden_size)
        weights = [self.weight_ih, self.weight_hh, self.bias, self.recurrent_bias]
        y, _, _ = torch.lstm(
            x,
            (start, start),
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
            batch_first=True,
        )
        return y
