"""Attention as torch code spells it, all spellings side by side in one module, so that one trace serves them all.

`RIGHT` holds what each is, `WRONG` the same with a mask that is off by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH, HEADS, SIZE, WIDTH, LONGEST = 3, 2, 4, 8, 24
Rule = tuple[bool, int, bool, int]
"""Causal, window, with a mask of keys, key position of the first query."""
CAUSAL, WINDOW, ALL = (True, 0, False, 0), (True, 3, False, 0), (False, 0, False, 0)


@dataclass(frozen=True)
class Given:
    """`x [batch, T, width]`, which keys count, queries, keys and values by head; `shift` makes a mask wrong by one."""

    x: Tensor
    keep: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    layers: nn.ModuleDict
    shift: int

    @property
    def length(self) -> int:
        return self.x.shape[1]

    @cached_property
    def back(self) -> Tensor:
        at = torch.arange(self.length)
        return at[:, None] - at[None, :] + self.shift

    @cached_property
    def scores(self) -> Tensor:
        return self.q @ self.k.transpose(-2, -1) / math.sqrt(SIZE)


Compute = Callable[[Given], Tensor]
RIGHT: dict[str, tuple[Compute, Rule | None]] = {}
"""What each computes and what it is to be recognised as; None for standard operators."""
WRONG: dict[str, tuple[Compute, Rule | None]] = {}
"""Masks that are wrong by one, with the rule that they must not be taken for."""


def spelling(rule: Rule | None, shifts: bool = False) -> Callable[[Compute], Compute]:
    def enter(compute: Compute) -> Compute:
        RIGHT[compute.__name__] = compute, rule
        if shifts:
            WRONG[f"{compute.__name__}_shifted"] = compute, rule
        return compute

    return enter


def sdpa(g: Given, mask: Tensor | None = None, **options: bool) -> Tensor:
    return F.scaled_dot_product_attention(g.q, g.k, g.v, mask, **options)


MASKS: dict[str, tuple[Rule, Callable[[Given], Tensor]]] = {
    "positions": (CAUSAL, lambda g: g.back >= 0),
    "tril": (CAUSAL, lambda g: torch.ones(g.length, g.length).tril(g.shift).bool()),
    "not_triu": (CAUSAL, lambda g: ~torch.ones(g.length, g.length, dtype=torch.bool).triu(1 + g.shift)),
    "subsequent": (
        CAUSAL,
        lambda g: torch.triu(torch.full((g.length, g.length), -torch.inf, dtype=g.x.dtype), 1 + g.shift),
    ),
    "filled": (
        CAUSAL,
        lambda g: torch.zeros(g.length, g.length, dtype=g.x.dtype).masked_fill(g.back < 0, -torch.inf),
    ),
    "far_below": (CAUSAL, lambda g: (g.back < 0).to(g.x.dtype) * torch.finfo(torch.float32).min),
    "buffer": (CAUSAL, lambda g: g.layers["table"](g.shift)[: g.length, : g.length]),
    "window": (WINDOW, lambda g: (g.back >= 0) & (g.back < 3)),
    "band": (WINDOW, lambda g: torch.ones(1, 1, g.length, g.length).tril(g.shift).triu(-2).bool()),
    "window_filled": (
        WINDOW,
        lambda g: torch.where((g.back < 0) | (g.back > 2), -torch.inf, torch.zeros((), dtype=g.x.dtype)),
    ),
    "all": (ALL, lambda g: g.back > -10_000),
}
for title, (said, mask) in MASKS.items():
    RIGHT[f"sdpa_{title}"] = (lambda g, mask=mask: sdpa(g, mask(g))), said
    if title != "all":
        WRONG[f"sdpa_{title}_shifted"] = RIGHT[f"sdpa_{title}"]


@spelling(CAUSAL)
def is_causal(g):
    return sdpa(g, is_causal=True)


@spelling(ALL)
def without_a_mask(g):
    return sdpa(g)


@spelling(CAUSAL)
def masked_fill_before_softmax(g):
    return g.scores.masked_fill(g.back < 0, -torch.inf).softmax(-1) @ g.v


@spelling(WINDOW, shifts=True)
def where_before_softmax(g):
    scores = torch.where((g.back >= 0) & (g.back < 3), g.scores, torch.tensor(-torch.inf, dtype=g.x.dtype))
    return scores.softmax(-1) @ g.v


@spelling(CAUSAL)
def far_below_before_softmax(g):
    return g.scores.masked_fill((g.back < 0)[None, None], torch.finfo(torch.float32).min).softmax(-1) @ g.v


@spelling(CAUSAL)
def added_before_softmax(g):
    return (g.scores + torch.full_like(g.scores[0, 0], -torch.inf).triu(1 + g.shift)).softmax(-1) @ g.v


@spelling(CAUSAL, shifts=True)
def einsum_with_heads_last(g):
    q, k, v = (t.transpose(1, 2) for t in (g.q, g.k, g.v))
    scores = torch.einsum("bthd,bshd->bhts", q * SIZE**-0.5, k).masked_fill(g.back < 0, -torch.inf)
    return torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v).transpose(1, 2)


@spelling(CAUSAL)
def bmm_of_one_head(g):
    scores = torch.bmm(g.x / math.sqrt(WIDTH), g.x.transpose(1, 2)).masked_fill(g.back < 0, -torch.inf)
    return torch.bmm(scores.softmax(-1), g.x)


@spelling(ALL)
def scaled_by_another_number(g):
    return (g.q @ g.k.mT * 0.75).softmax(-1) @ g.v


@spelling(CAUSAL, shifts=True)
def softmax_in_steps(g):
    scores = g.scores.masked_fill(g.back < 0, -torch.inf)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True) @ g.v


@spelling(None)
def divided_by_another_sum(g):
    weights = (g.scores - g.scores.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-2, keepdim=True) @ g.v


@spelling(CAUSAL, shifts=True)
def one_product_with_the_mask(g):
    q, k, v = (t.flatten(0, 1) for t in (g.q, g.k, g.v))
    mask = (
        torch.full((g.length, g.length), -torch.inf, dtype=g.x.dtype)
        .triu(1 + g.shift)
        .expand(q.shape[0], -1, -1)
    )
    weights = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=SIZE**-0.5).softmax(-1)
    return torch.bmm(weights, v).unflatten(0, (-1, HEADS))


@spelling(ALL)
def a_part_of_the_scale_on_each_side(g):
    return (
        F.softmax((g.q / SIZE**0.25) @ (g.k / SIZE**0.25).mT, dim=-1, dtype=torch.float32).type_as(g.q) @ g.v
    )


@spelling(None)
def capped_scores(g):
    return (5 * torch.tanh(g.scores / 5)).softmax(-1) @ g.v


@spelling(None)
def a_scale_per_head(g):
    slopes = g.layers["q"].bias[:HEADS, None, None].exp()
    return (F.normalize(g.q, dim=-1) @ F.normalize(g.k, dim=-1).mT * slopes).softmax(-1) @ g.v


@spelling(ALL)
def without_heads(g):
    return F.scaled_dot_product_attention(g.x, g.x, g.x)


@spelling(ALL)
def one_product_for_all(g):
    q, k, v = g.layers["qkv"](g.x).unflatten(2, (3, HEADS, SIZE)).permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


@spelling(ALL)
def grouped_heads(g):
    return F.scaled_dot_product_attention(g.q, g.k[:, :1], g.v[:, :1], enable_gqa=True)


@spelling(ALL)
def repeated_heads(g):
    k, v = (t[:, :1].repeat_interleave(HEADS, 1) for t in (g.k, g.v))
    return F.scaled_dot_product_attention(g.q, k, v)


@spelling((False, 0, True, 0))
def keys_that_count(g):
    return sdpa(g, g.keep[:, None, None, :])


@spelling((True, 0, True, 0))
def keys_that_count_and_causal(g):
    return sdpa(g, g.keep[:, None, None, :] & (g.back >= 0))


@spelling((True, 3, True, 0), shifts=True)
def padding_or_outside_a_window(g):
    blocked = ~g.keep[:, None, None, :] | (g.back < 0) | (g.back > 2)
    return sdpa(g, ~blocked)


@spelling((True, 0, True, 0))
def padding_added_to_causal(g):
    def added(blocked):
        return torch.zeros(blocked.shape, dtype=g.x.dtype).masked_fill(blocked, -torch.inf)

    return sdpa(g, added(~g.keep)[:, None, None, :] + added(g.back < 0))


@spelling(None)
def keys_joined_by_or(g):
    return sdpa(g, g.keep[:, None, None, :] | (g.back >= 0))


@spelling(None)
def filled_with_what_scores_can_exceed(g):
    return g.scores.masked_fill(g.back < 0, -1e9).softmax(-1) @ g.v


@spelling(None)
def far_below_where_no_key_may_count(g):
    return sdpa(g, torch.where(g.keep, 0.0, -1e38).to(g.x.dtype)[:, None, None, :])


@spelling(None)
def a_mask_of_pairs(g):
    return sdpa(g, (g.x[:, :, None, 0] > g.x[:, None, :, 1])[:, None])


@spelling(None)
def a_float_mask_of_pairs(g):
    blocked = (g.x[:, :, None, 0] > g.x[:, None, :, 1])[:, None]
    return sdpa(g, torch.zeros(blocked.shape, dtype=g.x.dtype).masked_fill(blocked, -torch.inf))


@spelling(None)
def distances_per_head(g):
    slopes = torch.tensor([0.5, 0.25], dtype=g.x.dtype)[:, None, None]
    return sdpa(g, (-slopes * g.back).masked_fill(g.back < 0, -torch.inf))


@spelling(None)
def relative_positions(g):
    """Transformer-XL and the Conformer: scores of distances, shifted so that each row begins at its own frame."""
    at = torch.arange(g.length - 1, -g.length, -1, dtype=g.x.dtype)
    distances = torch.stack([(at * 0.1 * c).sin() for c in range(1, SIZE + 1)])
    padded = F.pad(g.q @ distances, (1, 0))
    shifted = padded.reshape(-1, HEADS, 2 * g.length, g.length)[:, :, 1:].reshape(
        -1, HEADS, g.length, 2 * g.length - 1
    )
    return ((g.q @ g.k.mT + shifted[..., : g.length]) / 2).softmax(-1) @ g.v


@spelling(None)
def a_bias_that_is_learned(g):
    """With gradients torch traces it in one memory layout and decomposes it in another, where the reshape fails."""
    bias = (g.q @ g.k.mT) * g.layers["q"].bias[:1]
    return sdpa(g, bias).transpose(1, 2).reshape(g.x.shape)


@spelling(None)
def one_mask_per_head(g):
    return sdpa(g, torch.stack([g.back >= 0, g.back < 3]))


@spelling(None)
def a_query_without_keys(g):
    return sdpa(g, g.back > 0)


@spelling(None)
def weights_that_are_returned(g):
    return sum(g.layers["attention"](g.x, g.x, g.x, need_weights=True)[::-1][1:]) + (
        g.layers["attention"](g.x, g.x, g.x)[1].sum(-1, keepdim=True)
    )


def layer(rule: Rule, name: str, **given: Callable[[Given], Tensor]) -> None:
    """An attention layer of torch, called with these masks."""

    def compute(g: Given) -> Tensor:
        masks = {key: make(g) for key, make in given.items()}
        if name.startswith("attention"):
            return g.layers[name](g.x, g.x, g.x, need_weights="last" in name, **masks)[0]
        return g.layers[name](g.x, g.x, **masks) if "decoder" in name else g.layers[name](g.x, **masks)

    RIGHT["_".join([name, *given])] = compute, rule


def ignored(g: Given) -> Tensor:
    return ~g.keep


def later(g: Given) -> Tensor:
    return g.back < 0


layer(ALL, "attention")
layer((True, 0, True, 0), "attention", key_padding_mask=ignored, attn_mask=later)
layer(CAUSAL, "attention", attn_mask=later)
layer((False, 0, True, 0), "encoder", src_key_padding_mask=ignored)
layer((True, 0, True, 0), "encoder_norm_first", src_mask=later, src_key_padding_mask=ignored)
layer(ALL, "decoder", tgt_mask=later)


class Turned(nn.Module):
    """A layer that wants the sequence first."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, HEADS)

    def forward(self, x, *others, need_weights=False, **masks):
        x = x.transpose(0, 1)
        return (self.inner(x, x, x, **masks)[0].transpose(0, 1),)


layer(CAUSAL, "attention_of_sequences_first", attn_mask=later)


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for shift in (0, 1):
            self.register_buffer(f"table{shift}", torch.ones(LONGEST, LONGEST).tril(shift).bool())

    def forward(self, shift):
        return self.table1 if shift else self.table0


class Spellings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        block = {"d_model": WIDTH, "nhead": HEADS, "dim_feedforward": 8, "batch_first": True}
        self.layers = nn.ModuleDict(
            {
                **{name: nn.Linear(WIDTH, WIDTH) for name in ("q", "k", "v")},
                "qkv": nn.Linear(WIDTH, 3 * WIDTH),
                "attention": nn.MultiheadAttention(WIDTH, HEADS, batch_first=True),
                "attention_of_sequences_first": Turned(),
                "encoder": nn.TransformerEncoderLayer(**block),
                "encoder_norm_first": nn.TransformerEncoderLayer(**block, norm_first=True),
                "decoder": nn.TransformerDecoderLayer(**block),
                "table": Table(),
            }
        )

    def forward(self, x: Tensor, keep: Tensor) -> tuple[Tensor, ...]:
        q, k, v = (
            self.layers[name](x).unflatten(2, (HEADS, SIZE)).transpose(1, 2) for name in ("q", "k", "v")
        )
        right, wrong = (Given(x, keep, q, k, v, self.layers, shift) for shift in (0, 1))
        return (
            *(compute(right) for compute, _ in RIGHT.values()),
            *(compute(wrong) for compute, _ in WRONG.values()),
        )
