"""Lightning: softmax attention inside blocks of frames, linear attention over all earlier blocks.

    state_sequence [B,T,embed_dim] -> input_projection (where embed_dim != hidden_size)
        -> num_layers x [ x += out(block-linear attention(qkv(norm x))); x += ffn(norm x) ]
        -> final_norm -> last frame [B,hidden_size]

Named after Lightning Attention-2 (Qin et al. 2024, arXiv 2401.04658) but not its kernel: that one has no
softmax and weights the past by a decay. With `feature_map=identity` and `normalizer=key_sum` the linear
branch is divided by q . sum(k), which can pass through 0, so its outputs can be arbitrarily large; weights
trained that way need it. `feature_map=elu1` keeps the divisor positive and is the choice for new models.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from temport.custom_ops.block_linear_attention import block_linear_attention
from temport.graphs import edifice_names as names
from temport.graphs.architecture import Architecture
from temport.graphs.feed_forward import FeedForward
from temport.graphs.normalization import EPS
from temport.graphs.options import (
    SEQ_LEN,
    check_choice,
    check_counts,
    check_features,
    check_ignored,
    check_rate,
    head_width,
    ignored,
    option,
    required,
    sequence_length,
)

DIVISOR_EPS = 1e-8
FEATURE_MAPS = ("identity", "elu1")
NORMALIZERS = ("key_sum", "none")


@dataclass(frozen=True)
class LightningConfig:
    """Options of `lightning`."""

    embed_dim: int = required("features per frame of the input")
    hidden_size: int = option(256, "hidden size; must divide by num_heads")
    num_heads: int = option(8, "attention heads")
    num_layers: int = option(4, "transformer blocks")
    block_size: int = option(64, "frames per block; clipped to seq_len")
    dropout: float = option(0.1, "dropout rate while training: behind each branch and between blocks")
    window_size: int = ignored(60, "blocks of block_size frames stand in the place of a window")
    seq_len: int | None = option(None, f"{SEQ_LEN}. block_size is clipped to it")
    feature_map: str = option(
        "identity", "of the linear branch; elu1 = elu(x)+1 keeps its divisor positive", choices=FEATURE_MAPS
    )
    normalizer: str = option("key_sum", "divisor of the linear branch, or none", choices=NORMALIZERS)

    def __post_init__(self) -> None:
        check_counts(
            embed_dim=self.embed_dim,
            hidden_size=self.hidden_size,
            num_heads=self.num_heads,
            num_layers=self.num_layers,
            block_size=self.block_size,
            seq_len=sequence_length(self.seq_len, self.window_size),
        )
        head_width("hidden_size", self.hidden_size, self.num_heads)
        check_rate("dropout", self.dropout)
        check_choice("feature_map", self.feature_map, FEATURE_MAPS)
        check_choice("normalizer", self.normalizer, NORMALIZERS)
        check_ignored(self)

    @property
    def used_block_size(self) -> int:
        """Frames per block, at most seq_len."""
        return min(self.block_size, sequence_length(self.seq_len, self.window_size))


class LightningAttention(nn.Module):
    """out(BlockLinearAttention(qkv x)) on `[batch, seq, hidden_size]`; any length, the last block may be
    shorter.
    """

    def __init__(
        self, hidden_size: int, num_heads: int, block_size: int, feature_map: str, normalizer: str
    ) -> None:
        super().__init__()
        self.num_heads, self.block_size = num_heads, block_size
        self.feature_map, self.normalizer = feature_map, normalizer
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.attend(self.qkv(x)))

    def attend(self, qkv: Tensor) -> Tensor:
        """Packed queries, keys and values `[batch, seq, 3*hidden_size]` -> `[batch, seq, hidden_size]`."""
        return block_linear_attention(
            qkv,
            num_heads=self.num_heads,
            block_size=self.block_size,
            feature_map=self.feature_map,
            normalizer=self.normalizer,
            eps=DIVISOR_EPS,
        )


class LightningBlock(nn.Module):
    """Pre-norm attention and feed-forward on `[batch, seq, hidden_size]`."""

    def __init__(self, config: LightningConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.attn_norm = nn.LayerNorm(hidden, eps=EPS)
        self.attention = LightningAttention(
            hidden, config.num_heads, config.used_block_size, config.feature_map, config.normalizer
        )
        self.ffn_norm = nn.LayerNorm(hidden, eps=EPS)
        self.ffn = FeedForward(hidden, dropout=config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.attn_norm(x)))
        return x + self.ffn(self.ffn_norm(x))


class Lightning(nn.Module):
    """`[batch, seq, embed_dim]` -> `[batch, hidden_size]`, the last frame.

    Warns (UserWarning) where seq_len fits into one block: the linear branch is idle then.
    """

    def __init__(self, config: LightningConfig) -> None:
        super().__init__()
        length = sequence_length(config.seq_len, config.window_size)
        if config.block_size >= length:
            clipped = f", clipped to {length}," if config.block_size > length else ""
            warnings.warn(
                f"block_size {config.block_size}{clipped} covers the whole sequence of {length} frames, "
                f"so the linear branch is idle; choose a block_size below {length} to use it",
                stacklevel=2,
            )
        self.embed_dim = config.embed_dim
        projected = config.embed_dim != config.hidden_size
        self.input_projection = nn.Linear(config.embed_dim, config.hidden_size) if projected else None
        self.blocks = nn.ModuleList(LightningBlock(config) for _ in range(config.num_layers))
        self.dropout = nn.Dropout(config.dropout)
        self.final_norm = nn.LayerNorm(config.hidden_size, eps=EPS)

    def forward_sequence(self, state_sequence: Tensor) -> Tensor:
        """Every frame, `[batch, seq, hidden_size]`."""
        check_features("state_sequence", state_sequence, self.embed_dim)
        x = state_sequence if self.input_projection is None else self.input_projection(state_sequence)
        for i, block in enumerate(self.blocks):
            x = block(x if i == 0 else self.dropout(x))
        return self.final_norm(x)

    def forward(self, state_sequence: Tensor) -> Tensor:
        return self.forward_sequence(state_sequence)[:, -1]


def build_lightning(**options: Any) -> Lightning:
    """`Lightning` from the options of `LightningConfig`."""
    return Lightning(LightningConfig(**options))


def output_size(**options: Any) -> int:
    """Width of the output of a model with these options of `LightningConfig`: hidden_size."""
    return LightningConfig(**{"embed_dim": 1, **options}).hidden_size


def build_lightning_attention(
    *,
    hidden_size: int = 256,
    num_heads: int = 8,
    block_size: int = 64,
    feature_map: str = "identity",
    normalizer: str = "key_sum",
) -> LightningAttention:
    """The attention sublayer by itself: `[batch, seq, hidden_size]` -> the same shape."""
    check_counts(hidden_size=hidden_size, num_heads=num_heads, block_size=block_size)
    head_width("hidden_size", hidden_size, num_heads)
    check_choice("feature_map", feature_map, FEATURE_MAPS)
    check_choice("normalizer", normalizer, NORMALIZERS)
    return LightningAttention(hidden_size, num_heads, block_size, feature_map, normalizer)


def edifice(config: LightningConfig) -> names.Names:
    """Own parameter names -> the reference's."""
    table = names.norm("final_norm", "final_norm")
    if config.embed_dim != config.hidden_size:
        table |= names.dense("input_projection", "input_projection")
    for i in range(config.num_layers):
        own, layer = f"blocks.{i}", f"lightning_block_{i + 1}"
        table |= names.norm(f"{own}.attn_norm", f"{layer}_attn_norm")
        table |= names.dense(f"{own}.attention.qkv", f"{layer}_attn_qkv")
        table |= names.dense(f"{own}.attention.out", f"{layer}_attn_out")
        table |= names.norm(f"{own}.ffn_norm", f"{layer}_ffn_norm")
        table |= names.dense(f"{own}.ffn.up", f"{layer}_ffn_up")
        table |= names.dense(f"{own}.ffn.down", f"{layer}_ffn_down")
    return table


SMALL = {
    "embed_dim": 6,
    "hidden_size": 8,
    "num_heads": 2,
    "num_layers": 2,
    "block_size": 8,
    "feature_map": "elu1",
}

ARCHITECTURES = (
    Architecture(
        "lightning",
        "softmax attention inside blocks, linear attention across them",
        LightningConfig,
        Lightning,
        example={"embed_dim": 287},
        # Without identity and key_sum together, which no runtime can be judged by: their divisor may be next to 0.
        small={
            "elu1": SMALL,
            "unnormalised": {**SMALL, "hidden_size": 6, "feature_map": "identity", "normalizer": "none"},
        },
        stream="exact, however long",
        edifice=edifice,
    ),
)
