"""Sliding-window transformer: each frame attends to the last `window_size` frames, its own included.

    state_sequence [B,T,embed_dim] -> input_proj -> + sin positions
        -> num_layers x [ x = norm1(x + attention(x)); x = norm2(x + ffn(x)) ]     (post-norm)
        -> last frame [B,hidden],  hidden = num_heads * head_dim

The attention has no output projection; dropout falls on the feed-forward output only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from temport.graphs import edifice_names as names
from temport.graphs.architecture import Architecture
from temport.graphs.attention_layers import sliding_window_attention
from temport.graphs.feed_forward import FeedForward
from temport.graphs.normalization import EPS
from temport.graphs.options import (
    SEQ_LEN,
    check_counts,
    check_features,
    check_rate,
    head_width,
    option,
    required,
    sequence_length,
)
from temport.graphs.position import PositionalEncoding


@dataclass(frozen=True)
class SlidingWindowConfig:
    """Options of `sliding_window`."""

    embed_dim: int = required("features per frame of the input")
    window_size: int = option(60, "frames that a frame attends to, its own included")
    seq_len: int | None = option(None, SEQ_LEN)
    num_heads: int = option(4, "attention heads")
    head_dim: int = option(64, "features per head; num_heads * head_dim is the hidden size")
    num_layers: int = option(2, "transformer layers")
    ffn_dim: int = option(256, "inner width of the feed-forward blocks")
    dropout: float = option(0.1, "dropout rate while training")

    def __post_init__(self) -> None:
        check_counts(
            embed_dim=self.embed_dim,
            window_size=self.window_size,
            seq_len=sequence_length(self.seq_len, self.window_size),
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            num_layers=self.num_layers,
            ffn_dim=self.ffn_dim,
        )
        check_rate("dropout", self.dropout)

    @property
    def head_size(self) -> int:
        """Features per head."""
        return self.head_dim


@dataclass(frozen=True)
class AttentionConfig(SlidingWindowConfig):
    """Options of `attention`, the standard entry: `sliding_window` where hidden_size may rule head_dim."""

    hidden_size: int | None = option(
        None, "hidden size; given, it overrides head_dim and must divide by num_heads"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size is not None:
            check_counts(hidden_size=self.hidden_size)
            head_width("hidden_size", self.hidden_size, self.num_heads)

    @property
    def head_size(self) -> int:
        return self.head_dim if self.hidden_size is None else self.hidden_size // self.num_heads


class SlidingWindowLayer(nn.Module):
    """Post-norm attention and feed-forward on `[batch, seq, hidden]`."""

    def __init__(self, config: SlidingWindowConfig) -> None:
        super().__init__()
        hidden = config.num_heads * config.head_size
        self.attention = sliding_window_attention(
            window_size=config.window_size, num_heads=config.num_heads, head_dim=config.head_size
        )
        self.norm1 = nn.LayerNorm(hidden, eps=EPS)
        self.ffn = FeedForward(hidden, inner_size=config.ffn_dim, dropout=config.dropout)
        self.norm2 = nn.LayerNorm(hidden, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.ffn(x))


class SlidingWindow(nn.Module):
    """`[batch, seq, embed_dim]` -> `[batch, hidden]`, the last frame."""

    def __init__(self, config: SlidingWindowConfig) -> None:
        super().__init__()
        hidden = config.num_heads * config.head_size
        self.input_proj = nn.Linear(config.embed_dim, hidden)
        self.position = PositionalEncoding(hidden)
        self.layers = nn.ModuleList(SlidingWindowLayer(config) for _ in range(config.num_layers))

    def forward_sequence(self, state_sequence: Tensor) -> Tensor:
        """Every frame, `[batch, seq, hidden]`."""
        check_features("state_sequence", state_sequence, self.input_proj.in_features)
        x = self.input_proj(state_sequence)
        x = x + self.position(x.shape[1])
        for layer in self.layers:
            x = layer(x)
        return x

    def forward(self, state_sequence: Tensor) -> Tensor:
        return self.forward_sequence(state_sequence)[:, -1]


def build_sliding_window(**options: Any) -> SlidingWindow:
    """`SlidingWindow` from the options of `SlidingWindowConfig`."""
    return SlidingWindow(SlidingWindowConfig(**options))


def build_attention(**options: Any) -> SlidingWindow:
    """The standard entry: `SlidingWindow` from the options of `AttentionConfig`."""
    return SlidingWindow(AttentionConfig(**options))


def edifice(config: SlidingWindowConfig) -> names.Names:
    """Own parameter names -> the reference's."""
    table = names.dense("input_proj", "input_proj")
    for i in range(config.num_layers):
        own, layer = f"layers.{i}", f"layer_{i + 1}"
        table |= names.dense(f"{own}.attention.qkv", f"{layer}_attn_qkv")
        table |= names.norm(f"{own}.norm1", f"{layer}_norm1")
        table |= names.dense(f"{own}.ffn.up", f"{layer}_ffn1")
        table |= names.dense(f"{own}.ffn.down", f"{layer}_ffn2")
        table |= names.norm(f"{own}.norm2", f"{layer}_norm2")
    return table


STREAM = "exact for 2,097,152 frames; from then on positions count from 0 again"
SMALL = {"embed_dim": 6, "window_size": 7, "num_heads": 2, "ffn_dim": 10}

ARCHITECTURES = (
    Architecture(
        "sliding_window",
        "transformer whose frames attend to the last window_size frames",
        SlidingWindowConfig,
        SlidingWindow,
        example={"embed_dim": 1024},
        small={"": {**SMALL, "head_dim": 4}},
        stream=STREAM,
        edifice=edifice,
    ),
    Architecture(
        "attention",
        "standard entry: sliding_window with an optional hidden_size",
        AttentionConfig,
        SlidingWindow,
        example={"embed_dim": 1024},
        small={"": {**SMALL, "hidden_size": 8}},
        stream=STREAM,
        edifice=edifice,
    ),
)


def output_size(**options: Any) -> int:
    """Width of the output of a model with these options of `AttentionConfig`: hidden_size, or num_heads * head_dim
    where it is left out.
    """
    config = AttentionConfig(**{"embed_dim": 1, **options})
    return config.num_heads * config.head_size


def recommended_defaults() -> dict[str, Any]:
    """Options recommended for sequences of about one second at 60 frames a second."""
    return {"window_size": 60, "num_heads": 4, "head_dim": 64, "num_layers": 2, "dropout": 0.1}
