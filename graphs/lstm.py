"""LSTM layer (Hochreiter & Schmidhuber 1997) with one bias per gate and a zero initial state."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from temport.graphs.options import check_counts

torch.library.define(
    "temport::lstm",
    "(Tensor x, Tensor weight_ih, Tensor weight_hh, Tensor bias, Tensor? hidden, Tensor? cell) "
    "-> (Tensor, Tensor, Tensor)",
)


def lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """All hidden states `[batch, seq, hidden]` of x `[batch, seq, input]`, then the last hidden and cell state.

    hidden, cell `[1, batch, hidden]` are the state before the first frame; left out: zero.
    weight_ih `[4*hidden, input]`, weight_hh `[4*hidden, hidden]`, bias `[4*hidden]`, gates stacked i, f, g, o:
    c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c).
    """
    zero = x.new_zeros(1, x.shape[0], weight_hh.shape[1])
    # torch adds two biases, of which only the sum matters; the second is zero here.
    weights = [weight_ih, weight_hh, bias, torch.zeros_like(bias)]
    return torch.lstm(
        x,
        (zero if hidden is None else hidden, zero if cell is None else cell),
        weights,
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=torch.is_grad_enabled(),
        bidirectional=False,
        batch_first=True,
    )


torch.library.impl("temport::lstm", "CompositeExplicitAutograd", lstm)


@torch.library.register_fake("temport::lstm")
def _shape(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, hidden: Tensor | None, cell: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    size = weight_hh.shape[1]
    state = x.new_empty(1, x.shape[0], size)
    return x.new_empty(x.shape[0], x.shape[1], size), state, torch.empty_like(state)


class LSTM(nn.Module):
    """`[batch, seq, input_size]` -> `[batch, seq, hidden_size]`, gates stacked in the order i, f, g, o."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_counts(input_size=input_size, hidden_size=hidden_size)
        bound = 1 / math.sqrt(hidden_size)
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        # A trace keeps the layer as one op: torch would unroll its own at the example's number of frames.
        run = torch.ops.temport.lstm if torch.compiler.is_exporting() else lstm
        return run(x, self.weight_ih, self.weight_hh, self.bias, None, None)[0]
