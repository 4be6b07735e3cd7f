"""Small modules as users write them, each for one thing that a pass could get wrong.

Every module takes `x [batch, 9, 6]`; parameters are random and small.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from temport.custom_ops.block_linear_attention.torch_op import block_linear_attention
from temport.custom_ops.online_softmax_attention.torch_op import online_softmax_attention
from temport.graphs.moving_average import ExponentialMovingAverage

SEQ, WIDTH = 9, 6
MODULES: dict[str, Callable[[], nn.Module]] = {}

Layers = nn.ModuleDict
Forward = Callable[[Layers, Tensor], Tensor | tuple[Tensor, ...]]


class Small(nn.Module):
    """Named layers and what is done with them."""

    def __init__(self, layers: dict[str, nn.Module], compute: Forward) -> None:
        super().__init__()
        self.layers, self.compute = nn.ModuleDict(layers), compute

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.compute(self.layers, x)


def module(**layers: Callable[[], nn.Module]) -> Callable[[Forward], Forward]:
    """Enter `compute(layers, x)` in `MODULES` under its own name."""

    def enter(compute: Forward) -> Forward:
        MODULES[compute.__name__] = lambda: Small({name: make() for name, make in layers.items()}, compute)
        return compute

    return enter


def dense(inputs: int = WIDTH, outputs: int = WIDTH, bias: bool = True) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(inputs, outputs, bias=bias)


class Table(nn.Module):
    """A constant of some shape."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.randn(shape))

    def forward(self) -> Tensor:
        return self.table


@module(one=lambda: nn.Conv1d(6, 8, 3), two=lambda: nn.Conv1d(8, 4, 1), out=dense(4, 3))
def causal_convolutions(m, x):
    y = F.relu(m["one"](F.pad(x.transpose(1, 2), (2, 0))))
    return m["out"](m["two"](y).transpose(1, 2))[:, -1]


@module(weight=lambda: Table(6, 5), out=dense(5, 3))
def einsum_with_a_matrix(m, x):
    return m["out"](torch.einsum("btc,cd->btd", x, m["weight"]()))[:, -1]


@module(one=lambda: nn.Conv1d(6, 8, 1), two=lambda: nn.Conv1d(8, 4, 1, bias=False), out=dense(4, 3))
def one_tap_between_transposes(m, x):
    y = m["one"](x.transpose(1, 2))
    return m["out"](m["two"](F.relu(y)).transpose(1, 2))[:, -1], y


@module(matrix=lambda: Table(5, 6), head=dense(5, 4), factor=lambda: Table(4, 5))
def dense_layers_in_every_spelling(m, x):
    y = torch.einsum("dc,btc->btd", m["matrix"](), x)
    one = torch.addmm(m["factor"]()[:, 0], y[:, -1], m["factor"]().T, beta=0.5, alpha=2)
    return one, m["head"](y[:, 0]), torch.relu(m["factor"]()[:, 1] + y @ m["factor"]().T)


@module(q=dense(6, 8), k=dense(6, 4), v=dense(6, 6), out=dense(12, 6))
def grouped_heads_and_a_window(m, x):
    y = online_softmax_attention(m["q"](x), m["k"](x), m["v"](x), num_heads=4, kv_num_heads=2, window=3)
    return m["out"](y)[:, -1]


@module(qkv=dense(6, 18), out=dense())
def packed_attention_used_twice(m, x):
    qkv = m["qkv"](x)
    one = online_softmax_attention(qkv, num_heads=2, window=3)
    two = online_softmax_attention(qkv, num_heads=1, causal=True)
    return m["out"](one + two)[:, -1]


@module(qkv=dense(6, 12), out=dense(4, 3))
def packed_heads_grouped_two_ways(m, x):
    qkv = m["qkv"](x)
    one = online_softmax_attention(qkv, num_heads=2, kv_num_heads=1, window=4)
    two = online_softmax_attention(qkv, num_heads=4, kv_num_heads=4, window=2)
    return m["out"](two)[:, -2:], one[:, -1]


@module(q=dense(6, 6), out=dense())
def one_head_reads_its_own_source(m, x):
    return m["out"](online_softmax_attention(m["q"](x), x, x, num_heads=1, causal=True))[:, -1]


@module(q=dense(), k=dense(), v=dense(), out=dense())
def keys_absorbed_behind_a_layer(m, x):
    y = online_softmax_attention(m["q"](x), m["k"](x), m["v"](x), num_heads=1, window=5)
    return m["out"](y + x)[:, -1]


@module(qkv=dense(6, 18))
def every_row_of_one_head(m, x):
    return online_softmax_attention(m["qkv"](x), num_heads=1, causal=True)


@module(q=dense(), k=dense(), v=dense(), out=dense())
def a_key_mask_and_a_window(m, x):
    mask = x[:, :, 0] > -1.5
    y = online_softmax_attention(m["q"](x), m["k"](x), m["v"](x), mask, num_heads=2, window=3)
    return m["out"](y)[:, -1]


@module(q=dense(), k=dense(), out=dense())
def queries_stand_at_an_offset(m, x):
    y = online_softmax_attention(m["q"](x)[:, 4:], m["k"](x), x, num_heads=2, window=4, query_offset=4)
    return m["out"](y)[:, -1]


@module(norm=lambda: nn.LayerNorm(6), up=dense(6, 10), down=dense(10, 6))
def residual_and_gelu(m, x):
    h = x + m["down"](F.gelu(m["up"](m["norm"](x))))
    return (h + m["down"](F.gelu(m["up"](m["norm"](h)))))[:, -1]


@module(a=dense(), b=dense(), c=dense(), d=dense(), e=dense())
def activations_of_many_kinds(m, x):
    x = F.hardswish(m["a"](F.mish(x)))
    x = F.leaky_relu(m["b"](F.softplus(x)), 0.2)
    x = F.elu(m["c"](F.selu(x))) + F.hardtanh(x) + F.softsign(x)
    x = F.hardsigmoid(m["d"](F.silu(x))) * F.softshrink(x) - F.logsigmoid(x)
    return m["e"](F.hardshrink(F.threshold(x, 0.1, 0.0)))[:, -1]


@module(before=dense(), slope=lambda: nn.PReLU(6), after=dense())
def arithmetic_of_many_kinds(m, x):
    h = m["before"](x)
    h = m["slope"](h.transpose(1, 2)).transpose(1, 2)
    h = torch.sin(h) * torch.cos(x).abs() + torch.sign(x) - torch.floor(h * 3) / 4
    h = torch.where((h > 0) & ~(x < 0.3), h, torch.exp(-h.abs())) + torch.maximum(h, x)
    return m["after"](h + torch.round(x) + torch.atan(h))[:, -1]


@module(before=dense(), after=dense())
def a_branch_reads_it_whole(m, x):
    h = m["before"](x)
    mean = torch.cond(x.sum() > 0, lambda h: h.mean(1), lambda h: h.amax(1) * 2, (h,))
    return m["after"](torch.relu(h))[:, -1] + mean


@module(trunk=dense(), one=dense(), two=dense())
def two_heads_of_one_trunk(m, x):
    h = torch.relu(m["trunk"](x))
    return m["one"](h)[:, -1], m["two"](h).mean(1)


@module(trunk=dense(), one=dense(6, 3), two=dense(3, 6))
def cut_along_both_axes(m, x):
    h = torch.tanh(m["trunk"](x))
    r = m["one"](h)[:, -3:].sum(1) + m["two"](h[:, :, -3:])[:, -1, :3]
    return r, torch.sigmoid(h)[:, -1], torch.relu(h)[:, :, -1]


@module(table=lambda: Table(9, 9), one=dense(6, 9), two=dense(6, 9))
def one_table_cut_along_both_axes(m, x):
    table = m["table"]()
    return torch.relu(m["one"](x) + table)[:, -1], torch.relu(m["two"](x) * table)[:, :, -1]


@module(rnn=lambda: nn.GRU(6, 5, batch_first=True, bidirectional=True), out=dense(10, 3))
def gru(m, x):
    return m["out"](m["rnn"](x[:, :4])[0])[:, -1]


@module(rnn=lambda: nn.LSTM(6, 5, batch_first=True), out=dense(5, 3))
def lstm(m, x):
    return m["out"](torch.tanh(m["rnn"](x)[0]))[:, -1]


@module(before=dense(), after=dense())
def running_sum(m, x):
    return m["after"](torch.cumsum(m["before"](x), 1) / 9)[:, -1]


@module(both=dense(6, 12), out=dense())
def gated_by_its_other_half(m, x):
    return m["out"](F.glu(m["both"](x), -1) + torch.softmax(x, -1))[:, -1]


@module(places=lambda: Table(1, 9, 4), mix=dense(10, 6), out=dense())
def positions_beside_the_input(m, x):
    h = torch.cat([x, m["places"]().expand(x.shape[0], -1, -1)], 2)
    return m["out"](torch.relu(m["mix"](h)))[:, -1]


@module(names=lambda: nn.Embedding(5, 6), out=dense())
def looked_up(m, x):
    return m["out"](m["names"]((x[:, :, 0].abs() * 2).long() % 5) + x)[:, -1]


@module(q=dense(), k=dense(), out=dense())
def attention_in_plain_operators(m, x):
    weights = torch.softmax(m["q"](x) @ m["k"](x).transpose(1, 2) * 6**-0.5, -1)
    return m["out"](weights @ x)[:, -1]


@module(q=dense(), k=dense(), out=dense())
def attention_under_a_mask_of_pairs(m, x):
    pairs = x[:, :, None, 0] > x[:, None, :, 1]
    return m["out"](F.scaled_dot_product_attention(m["q"](x), m["k"](x), x, pairs))[:, -1]


@module(q=dense(), k=dense(), out=dense())
def distances_added_to_scores(m, x):
    at = torch.arange(x.shape[1])
    back = (at[:, None] - at[None, :]).float()
    bias = (-0.5 * back).masked_fill(back < 0, -torch.inf)
    return m["out"](F.scaled_dot_product_attention(m["q"](x), m["k"](x), x, bias))[:, -1]


@module(one=dense(), two=dense(bias=False), three=dense())
def constant_factors(m, x):
    scale = torch.tensor([1.0, 2.0, 0.5, 3.0, 0.25, 1.5])
    return m["three"](m["two"](m["one"](x * 0.3) * scale) / 7) * 5


@module(shared=dense(), out=dense())
def one_layer_used_twice_between_factors(m, x):
    return m["out"](m["shared"](x * 2) * 3 + m["shared"](x) * 0.5)


@module(ema=lambda: ExponentialMovingAverage(6, 3), other=lambda: ExponentialMovingAverage(6, 3), out=dense())
def two_moving_averages(m, x):
    return m["out"](m["ema"](x) + m["other"](x))[:, -1]


@module(qkv=dense(6, 18), out=dense())
def linear_attention(m, x):
    h = block_linear_attention(m["qkv"](x), num_heads=2, block_size=4, feature_map="elu1")
    h = block_linear_attention(m["qkv"](h), num_heads=2, block_size=9, feature_map="elu1")
    return m["out"](h)[:, -1]


@module(one=dense(), heads=dense(3, 3), out=dense())
def heads_apart(m, x):
    h = m["one"](x).reshape(x.shape[0], SEQ, 2, 3)
    h = m["heads"](h).flatten(2)
    return m["out"](h)[:, -1]


@module(one=dense(), two=dense())
def last_of_the_last(m, x):
    h = torch.relu(m["one"](x))[:, -4:]
    return m["two"](h)[:, -2:][:, :, -2:], x[:, -1][:, -1]


@module(norm=lambda: nn.LayerNorm(6), root=lambda: nn.RMSNorm(6), one=dense(), two=dense())
def normalised_in_two_ways(m, x):
    return m["two"](m["root"](x + m["one"](m["norm"](x))))[:, -1]
