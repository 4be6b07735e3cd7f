"""Mega: moving average equipped gated attention (Ma et al., ICLR 2023, arXiv 2209.10655).

    state_sequence [B,T,embed_dim] -> input_projection (where embed_dim != hidden_size)
        -> num_layers x [ x += EMA(norm x); x += gated attention(norm x); x += gated ffn(norm x) ]
        -> final_norm -> last frame [B,hidden_size]

Gated attention: out(sigmoid(gate u) * attention(q, k, v)) with one head of width hidden_size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from temport.custom_ops.mask import MaskRule
from temport.custom_ops.online_softmax_attention import online_softmax_attention
from temport.graphs import edifice_names as names
from temport.graphs.architecture import Architecture
from temport.graphs.attention_kernels import l1_attention, laplace_attention, paper_laplace_attention
from temport.graphs.feed_forward import GatedFeedForward
from temport.graphs.masks import MaskTable
from temport.graphs.moving_average import ExponentialMovingAverage
from temport.graphs.normalization import EPS
from temport.graphs.options import (
    SEQ_LEN,
    check_choice,
    check_counts,
    check_features,
    check_flags,
    check_ignored,
    check_rate,
    ignored,
    option,
    required,
    sequence_length,
)

LAPLACE = {"laplace": laplace_attention, "laplace_paper": paper_laplace_attention}
KERNELS = ("softmax", *LAPLACE, "l1")


def resolve_kernel(laplace: bool, kernel: str | None) -> str:
    """The attention kernel that the two options name together; ValueError where they disagree."""
    check_flags(laplace_attention=laplace)
    if kernel is None:
        return "laplace" if laplace else "softmax"
    check_choice("attention_kernel", kernel, KERNELS)
    if laplace and kernel not in LAPLACE:
        raise ValueError(
            f"laplace_attention asks for laplace and attention_kernel for {kernel}; give one of them"
        )
    return kernel


@dataclass(frozen=True)
class MegaConfig:
    """Options of `mega`."""

    embed_dim: int = required("features per frame of the input")
    hidden_size: int = option(256, "hidden size")
    ema_dim: int = option(16, "channels of the moving average")
    num_layers: int = option(4, "Mega blocks")
    dropout: float = option(0.1, "dropout rate while training, behind each of the three branches")
    window_size: int = ignored(60, "every frame attends to all frames before it")
    seq_len: int | None = option(None, SEQ_LEN)
    laplace_attention: bool = option(
        False, "the paper's Laplace function in place of softmax, with its rows normalised as softmax's are"
    )
    attention_kernel: str | None = option(
        None,
        "softmax and laplace are causal; laplace_paper is laplace of q.k/n with no row normalised, as in the paper; "
        "l1, 1/(1+|q-k|), sees later frames too and is for weights trained with it; left out: as "
        "laplace_attention says",
        choices=KERNELS,
    )

    def __post_init__(self) -> None:
        check_counts(
            embed_dim=self.embed_dim,
            hidden_size=self.hidden_size,
            ema_dim=self.ema_dim,
            num_layers=self.num_layers,
            seq_len=sequence_length(self.seq_len, self.window_size),
        )
        check_rate("dropout", self.dropout)
        resolve_kernel(self.laplace_attention, self.attention_kernel)
        check_ignored(self)


def causal_table(kernel: str) -> MaskTable | None:
    """The causal rule as a table, for the kernels that need it; softmax has it in the op, l1 has none."""
    return MaskTable(MaskRule(causal=True)) if kernel in LAPLACE else None


class GatedAttention(nn.Module):
    """out(sigmoid(gate u) * attention(q, k, v)) on `[batch, seq, hidden_size]`."""

    def __init__(self, hidden_size: int, kernel: str, causal: MaskTable | None) -> None:
        super().__init__()
        self.kernel, self.causal = kernel, causal
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.gate = nn.Linear(hidden_size, hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)

    def forward(self, u: Tensor) -> Tensor:
        return self.out(torch.sigmoid(self.gate(u)) * self.attend(self.qkv(u)))

    def attend(self, qkv: Tensor) -> Tensor:
        """Packed q, k, v `[batch, seq, 3*hidden_size]` -> `[batch, seq, hidden_size]`."""
        if self.kernel == "softmax":
            # The definition adds 1e-8 to the softmax denominator. That denominator is at least 1 (the largest
            # score contributes exp(0)), so the term is below half a unit in the last place of float32 and is
            # left out.
            return online_softmax_attention(qkv, num_heads=1, causal=True)
        q, k, v = qkv.chunk(3, dim=-1)
        if self.causal is not None:
            return LAPLACE[self.kernel](q, k, v, self.causal(qkv.shape[1]))
        return l1_attention(q, k, v)


class MegaBlock(nn.Module):
    """Three pre-norm residual branches on `[batch, seq, hidden_size]`."""

    def __init__(
        self, hidden_size: int, ema_dim: int, dropout: float, kernel: str, causal: MaskTable | None
    ) -> None:
        super().__init__()
        self.ema_norm = nn.LayerNorm(hidden_size, eps=EPS)
        self.ema = ExponentialMovingAverage(hidden_size, ema_dim)
        self.attn_norm = nn.LayerNorm(hidden_size, eps=EPS)
        self.attention = GatedAttention(hidden_size, kernel, causal)
        self.ffn_norm = nn.LayerNorm(hidden_size, eps=EPS)
        self.ffn = GatedFeedForward(hidden_size, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.ema(self.ema_norm(x)))
        x = x + self.dropout(self.attention(self.attn_norm(x)))
        return x + self.ffn(self.ffn_norm(x))


class Mega(nn.Module):
    """`[batch, seq, embed_dim]` -> `[batch, hidden_size]`, the last frame."""

    def __init__(self, config: MegaConfig) -> None:
        super().__init__()
        self.embed_dim = config.embed_dim
        kernel = resolve_kernel(config.laplace_attention, config.attention_kernel)
        self.causal = causal_table(kernel)  # one for all blocks, so that an export holds it once
        projected = config.embed_dim != config.hidden_size
        self.input_projection = nn.Linear(config.embed_dim, config.hidden_size) if projected else None
        self.blocks = nn.ModuleList(
            MegaBlock(config.hidden_size, config.ema_dim, config.dropout, kernel, self.causal)
            for _ in range(config.num_layers)
        )
        self.final_norm = nn.LayerNorm(config.hidden_size, eps=EPS)

    def forward_sequence(self, state_sequence: Tensor) -> Tensor:
        """Every frame, `[batch, seq, hidden_size]`."""
        check_features("state_sequence", state_sequence, self.embed_dim)
        x = state_sequence if self.input_projection is None else self.input_projection(state_sequence)
        for block in self.blocks:
            x = block(x)
        return self.final_norm(x)

    def forward(self, state_sequence: Tensor) -> Tensor:
        return self.forward_sequence(state_sequence)[:, -1]


def build_mega(**options: Any) -> Mega:
    """`Mega` from the options of `MegaConfig`."""
    return Mega(MegaConfig(**options))


def build_mega_block(
    *,
    hidden_size: int = 256,
    ema_dim: int = 16,
    dropout: float = 0.1,
    laplace_attention: bool = False,
    attention_kernel: str | None = None,
) -> MegaBlock:
    """One Mega block: `[batch, seq, hidden_size]` -> the same shape. Options as in `MegaConfig`."""
    check_counts(hidden_size=hidden_size, ema_dim=ema_dim)
    kernel = resolve_kernel(laplace_attention, attention_kernel)
    return MegaBlock(hidden_size, ema_dim, dropout, kernel, causal_table(kernel))


def output_size(**options: Any) -> int:
    """Width of the output of a model with these options of `MegaConfig`: hidden_size."""
    return MegaConfig(**{"embed_dim": 1, **options}).hidden_size


def recommended_defaults() -> dict[str, Any]:
    """Options recommended for sequences of about one second at 60 frames a second."""
    return {
        "hidden_size": 256,
        "ema_dim": 16,
        "num_layers": 4,
        "window_size": 60,
        "dropout": 0.1,
        "laplace_attention": False,
    }


def edifice_block(own: str, layer: str) -> names.Names:
    """Own parameter names of one block -> the reference's, whose names of the average repeat the layer's."""
    table: names.Names = {}
    for part in ("ema_norm", "attn_norm", "ffn_norm"):
        table |= names.norm(f"{own}.{part}", f"{layer}_{part}")
    ema = f"{layer}_ema.{layer}_ema"
    table[f"{own}.ema.proj.weight"] = names.Source((f"{ema}_proj_w",), transposed=True)
    table[f"{own}.ema.proj.bias"] = names.Source((f"{ema}_proj_b",))
    table[f"{own}.ema.kernel.alpha"] = names.Source((f"{ema}_alpha",))
    table[f"{own}.ema.out.weight"] = names.Source((f"{ema}_out_w",), transposed=True)
    table[f"{own}.ema.out.bias"] = names.Source((f"{ema}_out_b",))
    table |= names.dense(f"{own}.attention.qkv", *(f"{layer}_gattn_{part}" for part in "qkv"))
    for part in ("gate", "out"):
        table |= names.dense(f"{own}.attention.{part}", f"{layer}_gattn_{part}")
    for part in ("gate", "up", "down"):
        table |= names.dense(f"{own}.ffn.{part}", f"{layer}_ffn_{part}")
    return table


def edifice(config: MegaConfig) -> names.Names:
    """Own parameter names -> the reference's."""
    table = names.norm("final_norm", "final_norm")
    if config.embed_dim != config.hidden_size:
        table |= names.dense("input_projection", "input_projection")
    for i in range(config.num_layers):
        table |= edifice_block(f"blocks.{i}", f"mega_block_{i + 1}")
    return table


SMALL = {"embed_dim": 6, "hidden_size": 8, "ema_dim": 3, "num_layers": 2}

ARCHITECTURES = (
    Architecture(
        "mega",
        "moving average and gated single-head attention",
        MegaConfig,
        Mega,
        example={"embed_dim": 287},
        small={
            "softmax": SMALL,
            "laplace": {**SMALL, "hidden_size": 6, "laplace_attention": True},  # needs no input_projection
            "l1": {**SMALL, "attention_kernel": "l1"},
        },
        stream="exact for the first --seq frames; from then on with a window of --seq frames; l1: no, it sees later "
        "frames",
        edifice=edifice,
    ),
)
