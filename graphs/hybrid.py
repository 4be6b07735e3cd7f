"""LSTM followed by causal self-attention over its hidden states; `hybrid_mlp` adds dense layers on top.

    state_sequence [B,T,embed_dim] -> input_ln -> lstm_layers x [ LSTM -> norm ] -> lstm_to_attn_proj
        -> attn_norm(x + self_attention(x)) -> last frame [B,hidden]
        -> (hybrid_mlp) per size: dense -> relu -> dropout

The LSTM starts every sequence from a zero state.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from temport.graphs import edifice_names as names
from temport.graphs.architecture import Architecture
from temport.graphs.attention_layers import multi_head_attention
from temport.graphs.lstm import LSTM
from temport.graphs.normalization import EPS, EPS_FINE
from temport.graphs.options import (
    SEQ_LEN,
    check_counts,
    check_features,
    check_ignored,
    check_rate,
    ignored,
    option,
    required,
    sequence_length,
)


@dataclass(frozen=True)
class HybridConfig:
    """Options of `hybrid`."""

    embed_dim: int = required("features per frame of the input")
    lstm_hidden: int = option(256, "hidden size of the LSTM")
    lstm_layers: int = option(1, "LSTM layers")
    num_heads: int = option(4, "attention heads")
    head_dim: int = option(64, "features per head; num_heads * head_dim is the hidden size")
    dropout: float = option(0.1, "dropout rate while training: between LSTM layers and behind the attention")
    window_size: int = ignored(60, "every frame attends to all frames before it")
    seq_len: int | None = option(None, SEQ_LEN)

    def __post_init__(self) -> None:
        check_counts(
            embed_dim=self.embed_dim,
            lstm_hidden=self.lstm_hidden,
            lstm_layers=self.lstm_layers,
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            seq_len=sequence_length(self.seq_len, self.window_size),
        )
        check_rate("dropout", self.dropout)
        check_ignored(self)


@dataclass(frozen=True)
class HybridMLPConfig(HybridConfig):
    """Options of `hybrid_mlp`."""

    mlp_sizes: tuple[int, ...] = option((256, 256), "width of each dense layer on top")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.mlp_sizes, tuple | list) or not self.mlp_sizes:
            raise ValueError(f"mlp_sizes is {self.mlp_sizes!r}; give at least one width, such as (256, 256)")
        check_counts(**{f"mlp_sizes[{i}]": size for i, size in enumerate(self.mlp_sizes)})
        object.__setattr__(self, "mlp_sizes", tuple(self.mlp_sizes))


class RecurrentBackbone(nn.Module):
    """Layer norm, then LSTM layers each followed by a layer norm: `[batch, seq, input]` -> `[batch, seq,
    hidden]`.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.input_ln = nn.LayerNorm(input_size, eps=EPS_FINE)
        self.lstms = nn.ModuleList(LSTM(size, hidden_size) for size in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size, eps=EPS_FINE) for _ in sizes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_ln(x)
        for i, (lstm, norm) in enumerate(zip(self.lstms, self.norms, strict=True)):
            x = norm(lstm(x if i == 0 else self.dropout(x)))
        return x


class Hybrid(nn.Module):
    """`[batch, seq, embed_dim]` -> `[batch, num_heads*head_dim]`, the last frame."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        hidden = config.num_heads * config.head_dim
        self.embed_dim = config.embed_dim
        self.backbone = RecurrentBackbone(
            config.embed_dim, config.lstm_hidden, config.lstm_layers, config.dropout
        )
        self.lstm_to_attn_proj = nn.Linear(config.lstm_hidden, hidden)
        self.attention = multi_head_attention(
            num_heads=config.num_heads, head_dim=config.head_dim, dropout=config.dropout
        )
        self.attn_norm = nn.LayerNorm(hidden, eps=EPS)

    def forward_sequence(self, state_sequence: Tensor) -> Tensor:
        """Every frame, `[batch, seq, hidden]`."""
        check_features("state_sequence", state_sequence, self.embed_dim)
        x = self.lstm_to_attn_proj(self.backbone(state_sequence))
        return self.attn_norm(x + self.attention(x))

    def forward(self, state_sequence: Tensor) -> Tensor:
        return self.forward_sequence(state_sequence)[:, -1]


class HybridMLP(nn.Module):
    """`Hybrid` with dense layers on its output: `[batch, seq, embed_dim]` -> `[batch, mlp_sizes[-1]]`."""

    def __init__(self, config: HybridMLPConfig) -> None:
        super().__init__()
        self.hybrid = Hybrid(config)
        sizes = [config.num_heads * config.head_dim, *config.mlp_sizes]
        self.mlp = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.dropout = nn.Dropout(config.dropout)

    def forward_sequence(self, state_sequence: Tensor) -> Tensor:
        """Every frame, `[batch, seq, mlp_sizes[-1]]`."""
        return self._head(self.hybrid.forward_sequence(state_sequence))

    def forward(self, state_sequence: Tensor) -> Tensor:
        return self._head(self.hybrid(state_sequence))

    def _head(self, x: Tensor) -> Tensor:
        for linear in self.mlp:
            x = self.dropout(functional.relu(linear(x)))
        return x


def build_hybrid(**options: Any) -> Hybrid:
    """`Hybrid` from the options of `HybridConfig`."""
    return Hybrid(HybridConfig(**options))


def build_hybrid_mlp(**options: Any) -> HybridMLP:
    """`HybridMLP` from the options of `HybridMLPConfig`."""
    return HybridMLP(HybridMLPConfig(**options))


def output_size(**options: Any) -> int:
    """Width of the output of a model with these options: num_heads * head_dim; with `mlp_sizes`, the options of
    `HybridMLPConfig`, the last of them.
    """
    given = {"embed_dim": 1, **options}
    if "mlp_sizes" in given:
        return HybridMLPConfig(**given).mlp_sizes[-1]
    config = HybridConfig(**given)
    return config.num_heads * config.head_dim


def edifice(config: HybridConfig, prefix: str = "") -> names.Names:
    """Own parameter names of `hybrid` (behind `prefix`) -> the reference's."""
    table = names.norm(f"{prefix}backbone.input_ln", "input_ln")
    for i in range(config.lstm_layers):
        table |= names.lstm(f"{prefix}backbone.lstms.{i}", f"lstm_{i + 1}")
        table |= names.norm(f"{prefix}backbone.norms.{i}", f"lstm_{i + 1}_ln")
    table |= names.dense(f"{prefix}lstm_to_attn_proj", "lstm_to_attn_proj")
    table |= names.dense(f"{prefix}attention.qkv", "hybrid_attn_qkv")
    table |= names.dense(f"{prefix}attention.output", "hybrid_attn_output")
    table |= names.norm(f"{prefix}attn_norm", "attn_norm")
    return table


def edifice_mlp(config: HybridMLPConfig) -> names.Names:
    """Own parameter names of `hybrid_mlp` -> the reference's."""
    table = edifice(config, "hybrid.")
    for i in range(len(config.mlp_sizes)):
        table |= names.dense(f"mlp.{i}", f"hybrid_mlp_{i}")
    return table


STREAM = "exact for the first --seq frames; from then on with a window of --seq frames"
SMALL = {"embed_dim": 6, "lstm_hidden": 5, "num_heads": 2, "head_dim": 4}

ARCHITECTURES = (
    Architecture(
        "hybrid",
        "LSTM followed by causal self-attention",
        HybridConfig,
        Hybrid,
        example={"embed_dim": 1024},
        small={"": {**SMALL, "lstm_layers": 2}},
        stream=STREAM,
        edifice=edifice,
    ),
    Architecture(
        "hybrid_mlp",
        "hybrid with dense layers on top",
        HybridMLPConfig,
        HybridMLP,
        example={"embed_dim": 1024},
        small={"": {**SMALL, "mlp_sizes": (12, 10)}},
        stream=STREAM,
        edifice=edifice_mlp,
    ),
)
