"""The attention layer of DirectMultiStep (Shee et al. 2024, arXiv 2405.13983): cross-attention with a key
mask.

    query [B,L,D], key and value [B,M,D], mask [B,1,1,M] -> [B,L,D]

With a mask, every query sees the keys where it is True. It may also be [1,1,1,M], one for the whole batch, or
[B,1,L,M] or [1,1,L,M], one for each query; these two are no key mask, so their scores are in memory. Without a mask
the attention is causal from the top left: row t sees keys j <= t, also where L != M. In training, and only then,
dropout falls on the attention weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from temport.custom_ops.mask import MaskRule
from temport.custom_ops.online_softmax_attention import online_softmax_attention
from temport.graphs import edifice_names as names
from temport.graphs.architecture import Architecture, InputSpec
from temport.graphs.attention_functions import scaled_dot_product_attention
from temport.graphs.options import (
    check_choice,
    check_counts,
    check_flags,
    check_rate,
    head_width,
    option,
    required,
)

RULE = MaskRule(causal=True, query_offset=0)
MASK_AXES: dict[str, tuple[str | int, ...]] = {
    "B11M": ("batch", 1, 1, "memory"),
    "111M": (1, 1, 1, "memory"),
    "B1LM": ("batch", 1, "seq", "memory"),
    "11LM": (1, 1, "seq", "memory"),
}


@dataclass(frozen=True)
class DMSConfig:
    """Options of `dms`."""

    hid_dim: int = required("features of query, key, value and output; must divide by n_heads")
    n_heads: int = required("attention heads")
    dropout: float = option(0.1, "dropout rate on the attention weights while training")
    attn_bias: bool = option(False, "bias in the query, key and value layers; the projection always has one")
    masked: bool = option(True, "the model has a fourth input, mask; without it the attention is causal")
    mask_shape: str = option(
        "B11M",
        "axes of the mask: batch or 1, 1, queries or 1, keys; with LM each query has a mask of its own",
        choices=tuple(MASK_AXES),
    )

    def __post_init__(self) -> None:
        check_counts(hid_dim=self.hid_dim, n_heads=self.n_heads)
        head_width("hid_dim", self.hid_dim, self.n_heads)
        check_rate("dropout", self.dropout)
        check_flags(attn_bias=self.attn_bias, masked=self.masked)
        check_choice("mask_shape", self.mask_shape, tuple(MASK_AXES))
        if not self.masked and self.mask_shape != "B11M":
            raise ValueError(f"mask_shape is {self.mask_shape!r} and masked false; leave one of them out")


class MultiHeadAttentionLayer(nn.Module):
    """Multi-head attention of separate queries, keys and values, heads in contiguous chunks of the last
    axis.
    """

    def __init__(self, hid_dim: int, n_heads: int, dropout: float, attn_bias: bool) -> None:
        super().__init__()
        DMSConfig(hid_dim, n_heads, dropout, attn_bias)  # refuses what does not fit
        self.hid_dim, self.n_heads, self.dropout = hid_dim, n_heads, dropout
        self.query = nn.Linear(hid_dim, hid_dim, bias=attn_bias)
        self.key = nn.Linear(hid_dim, hid_dim, bias=attn_bias)
        self.value = nn.Linear(hid_dim, hid_dim, bias=attn_bias)
        self.projection = nn.Linear(hid_dim, hid_dim)

    def forward(
        self, query_BLD: Tensor, key_BMD: Tensor, value_BMD: Tensor, mask_B11M: Tensor | None = None
    ) -> Tensor:
        self._check(query_BLD, key_BMD, value_BMD, mask_B11M)
        q, k, v = self.query(query_BLD), self.key(key_BMD), self.value(value_BMD)
        if self.training and self.dropout > 0:
            return self.projection(self._attend_with_dropout(q, k, v, mask_B11M))
        if mask_B11M is None:
            attended = online_softmax_attention(q, k, v, num_heads=self.n_heads, causal=True, query_offset=0)
        elif _is_one(mask_B11M.shape[2]):
            of_keys = mask_B11M[:, 0, 0].expand(q.shape[0], -1)
            attended = online_softmax_attention(q, k, v, of_keys, num_heads=self.n_heads)
        else:
            heads = scaled_dot_product_attention(*self._by_head(q, k, v), mask=mask_B11M)
            attended = heads.transpose(1, 2).flatten(2)
        return self.projection(attended)

    def _by_head(self, *tensors: Tensor) -> list[Tensor]:
        """`[B, rows, D]` as `[B, H, rows, D/H]`."""
        return [x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for x in tensors]

    def _attend_with_dropout(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """The same attention with its weights in memory, `[B, H, L, M]`, where dropout can reach them."""
        q, k, v = self._by_head(q, k, v)
        dtype = torch.promote_types(q.dtype, torch.float32)
        scores = q.to(dtype) @ k.to(dtype).transpose(-1, -2) / math.sqrt(q.shape[-1])
        if mask is None:
            mask = torch.from_numpy(RULE.array(q.shape[2], k.shape[2])).to(q.device)
        weights = torch.softmax(torch.where(mask, scores, torch.finfo(dtype).min), dim=-1)
        weights = nn.functional.dropout(torch.where(mask, weights, 0.0), self.dropout)
        return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)

    def _check(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> None:
        for name, x, length in (("query", query, "L"), ("key", key, "M"), ("value", value, "M")):
            if x.dim() != 3 or x.shape[-1] != self.hid_dim:
                raise ValueError(
                    f"{name} has shape {list(x.shape)}; it must be [B, {length}, {self.hid_dim}]"
                )
        if key.shape[1] != value.shape[1]:
            raise ValueError(f"key has {key.shape[1]} rows and value {value.shape[1]}; they must be the same")
        if mask is None:
            return
        if mask.dtype != torch.bool:
            raise ValueError(
                f"mask has dtype {mask.dtype}; give torch.bool, True where a key may be attended"
            )
        B, L, M = *query.shape[:2], key.shape[1]
        fits = mask.dim() == 4 and _is_one(mask.shape[1]) and mask.shape[3] == M
        if not (fits and _spans(mask.shape[0], B) and _spans(mask.shape[2], L)):
            raise ValueError(
                f"mask has shape {list(mask.shape)}; it must be [{B}, 1, 1, {M}], one for each sequence; its first "
                f"axis may be 1, and its third may be {L}, one for each query"
            )


def _is_one(size: int) -> bool:
    """Asked of a size that is a number only: a trace at an open length must not depend on the answer."""
    return isinstance(size, int) and size == 1


def _spans(size: int, full: int) -> bool:
    """Whether an axis is that long or broadcast to it."""
    return _is_one(size) or size == full


def build_dms(config: DMSConfig) -> MultiHeadAttentionLayer:
    """The layer of a configuration."""
    return MultiHeadAttentionLayer(config.hid_dim, config.n_heads, config.dropout, config.attn_bias)


def own_names(config: DMSConfig) -> names.Names:
    """The reference of this layer is torch itself: names and layouts are the same."""
    layers = ("query", "key", "value", "projection")
    keys = [f"{layer}.weight" for layer in layers] + ["projection.bias"]
    if config.attn_bias:
        keys += [f"{layer}.bias" for layer in layers[:3]]
    return {key: names.Source((key,)) for key in keys}


def inputs(config: DMSConfig) -> tuple[InputSpec, ...]:
    """Queries, keys and values, and a mask where the model has one."""
    given = (
        InputSpec("query", ("batch", "seq", config.hid_dim), "float32"),
        InputSpec("key", ("batch", "memory", config.hid_dim), "float32"),
        InputSpec("value", ("batch", "memory", config.hid_dim), "float32"),
    )
    return (*given, InputSpec("mask", MASK_AXES[config.mask_shape], "bool")) if config.masked else given


SMALL = {"hid_dim": 8, "n_heads": 2}

ARCHITECTURES = (
    Architecture(
        "dms",
        "cross-attention layer of DirectMultiStep with a key mask",
        DMSConfig,
        build_dms,
        example={"hid_dim": 256, "n_heads": 8},
        small={"masked": SMALL, "causal": {**SMALL, "masked": False, "attn_bias": True}},
        inputs=inputs,
        edifice=own_names,
    ),
)
