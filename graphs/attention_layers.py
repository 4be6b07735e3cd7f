"""Self-attention layers: one fused projection to queries, keys and values, then the fused attention op.

The op takes the projection as it is, `[batch, seq, 3*hidden]`, so nothing is split or transposed around it;
only qk-norm, rotary embedding and an explicit mask need the three parts by themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from temport.custom_ops.mask import MaskRule
from temport.custom_ops.online_softmax_attention import online_softmax_attention
from temport.graphs.attention_functions import chunked_attention, scaled_dot_product_attention
from temport.graphs.masks import MaskTable
from temport.graphs.normalization import qk_layer_norm
from temport.graphs.options import check_counts, check_flags, check_rate, head_width
from temport.graphs.rope import RotaryTable, rotate


class MultiHeadSelfAttention(nn.Module):
    """`[batch, seq, input_size]` -> `[batch, seq, hidden_size]`, heads in contiguous chunks of the last axis.

    Four ways to compute the same numbers, chosen by options:

    - default: the op `OnlineSoftmaxAttention` (online softmax over tiles, memory O(seq));
    - `memory_efficient`: says the same explicitly, and so conflicts with the two below;
    - `chunked`: plain torch, `chunk_size` queries at a time, score memory O(chunk_size * seq); exported, it
      becomes one group of standard nodes per chunk, so the length must be fixed then;
    - `mask`: plain torch with this bool `[seq, seq]` table in place of the rule, which fixes the length to
      seq.
    """

    fixed_mask: Tensor | None

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        num_heads: int,
        rule: MaskRule,
        qk_layernorm: bool,
        rope: bool,
        chunked: bool,
        memory_efficient: bool,
        chunk_size: int,
        mask: Tensor | None,
        dropout: float,
        project_output: bool,
    ) -> None:
        super().__init__()
        check_counts(
            input_size=input_size, hidden_size=hidden_size, num_heads=num_heads, chunk_size=chunk_size
        )
        check_flags(qk_layernorm=qk_layernorm, rope=rope, chunked=chunked, memory_efficient=memory_efficient)
        check_rate("dropout", dropout)
        head_dim = head_width("hidden_size", hidden_size, num_heads)
        if memory_efficient and chunked:
            raise ValueError(
                "chunked and memory_efficient are two ways to compute the same; set only one of them"
            )
        if memory_efficient and mask is not None:
            raise ValueError(
                "memory_efficient attention follows the layer's own rule; leave out mask or memory_efficient"
            )
        if mask is not None and (mask.dtype != torch.bool or mask.dim() != 2):
            raise ValueError(
                f"mask is {mask.dtype} {list(mask.shape)}; give a bool tensor [seq, seq], True = attend"
            )
        self.num_heads, self.rule, self.qk_layernorm = num_heads, rule, qk_layernorm
        self.chunk_size = chunk_size if chunked else None
        self.qkv = nn.Linear(input_size, 3 * hidden_size)
        self.rotary = RotaryTable(head_dim) if rope else None
        self.rule_table = MaskTable(rule) if chunked and mask is None and not rule.unrestricted else None
        self.register_buffer("fixed_mask", mask, persistent=False)
        self.output = nn.Linear(hidden_size, hidden_size) if project_output else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[-1] != self.qkv.in_features:
            raise ValueError(
                f"input has shape {list(x.shape)}; it must be [batch, seq, {self.qkv.in_features}]"
            )
        y = self.attend(self.qkv(x))
        return self.dropout(y if self.output is None else self.output(y))

    def attend(self, qkv: Tensor) -> Tensor:
        """Packed queries, keys and values `[batch, seq, 3*hidden]` -> `[batch, seq, hidden]`."""
        plain = self.chunk_size is not None or self.fixed_mask is not None
        if not (plain or self.qk_layernorm or self.rotary is not None):
            return online_softmax_attention(
                qkv, num_heads=self.num_heads, causal=self.rule.causal, window=self.rule.window
            )
        B, T, _ = qkv.shape
        # [batch, seq, 3, heads, head_dim] -> three of [batch, heads, seq, head_dim]
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if self.qk_layernorm:
            q, k = qk_layer_norm(q), qk_layer_norm(k)
        if self.rotary is not None:
            table = self.rotary(T)
            q, k = rotate(q, table), rotate(k, table)
        if plain:
            return self._attend_plain(q, k, v).transpose(1, 2).reshape(B, T, -1)
        q, k, v = (part.transpose(1, 2).reshape(B, T, -1) for part in (q, k, v))
        return online_softmax_attention(
            q, k, v, num_heads=self.num_heads, causal=self.rule.causal, window=self.rule.window
        )

    def _attend_plain(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = self.fixed_mask if self.rule_table is None else self.rule_table(q.shape[2])
        if self.chunk_size is None:
            return scaled_dot_product_attention(q, k, v, mask=mask)
        return chunked_attention(q, k, v, mask=mask, chunk_size=self.chunk_size)


def self_attention(
    *,
    input_size: int | None = None,
    hidden_size: int = 256,
    num_heads: int = 1,
    dropout: float = 0.1,
    causal: bool = True,
    qk_layernorm: bool = False,
    rope: bool = False,
    chunked: bool = False,
    memory_efficient: bool = False,
    chunk_size: int = 32,
) -> MultiHeadSelfAttention:
    """Full or causal self-attention with an output projection and dropout behind it.

    `[batch, seq, input_size]` -> `[batch, seq, hidden_size]`; input_size defaults to hidden_size. Dropout
    falls on the output, never on the attention weights. `qk_layernorm` comes before `rope`; both touch q and
    k only.
    """
    check_flags(causal=causal)
    return MultiHeadSelfAttention(
        input_size=hidden_size if input_size is None else input_size,
        hidden_size=hidden_size,
        num_heads=num_heads,
        rule=MaskRule(causal=causal),
        qk_layernorm=qk_layernorm,
        rope=rope,
        chunked=chunked,
        memory_efficient=memory_efficient,
        chunk_size=chunk_size,
        mask=None,
        dropout=dropout,
        project_output=True,
    )


def multi_head_attention(
    *,
    input_size: int | None = None,
    num_heads: int = 4,
    head_dim: int = 64,
    dropout: float = 0.1,
    causal: bool = True,
    qk_layernorm: bool = False,
    rope: bool = False,
    chunked: bool = False,
    memory_efficient: bool = False,
    chunk_size: int = 32,
) -> MultiHeadSelfAttention:
    """`self_attention` with hidden_size = num_heads * head_dim."""
    check_counts(num_heads=num_heads, head_dim=head_dim)
    return self_attention(
        input_size=input_size,
        hidden_size=num_heads * head_dim,
        num_heads=num_heads,
        dropout=dropout,
        causal=causal,
        qk_layernorm=qk_layernorm,
        rope=rope,
        chunked=chunked,
        memory_efficient=memory_efficient,
        chunk_size=chunk_size,
    )


def sliding_window_attention(
    *,
    input_size: int | None = None,
    window_size: int = 60,
    num_heads: int = 4,
    head_dim: int = 64,
    hidden_size: int | None = None,
    mask: Tensor | None = None,
    qk_layernorm: bool = False,
    chunked: bool = False,
    memory_efficient: bool = False,
    chunk_size: int = 32,
) -> MultiHeadSelfAttention:
    """Self-attention over the last `window_size` frames, the query's own included; no output projection.

    `[batch, seq, input_size]` -> `[batch, seq, num_heads*head_dim]`; a `hidden_size` overrides head_dim and must
    divide by num_heads. Every way to compute honours the window; `mask` replaces it (see `MultiHeadSelfAttention`).
    """
    check_counts(window_size=window_size, num_heads=num_heads, head_dim=head_dim)
    hidden_size = num_heads * head_dim if hidden_size is None else hidden_size
    return MultiHeadSelfAttention(
        input_size=hidden_size if input_size is None else input_size,
        hidden_size=hidden_size,
        num_heads=num_heads,
        rule=MaskRule(causal=True, window=window_size),
        qk_layernorm=qk_layernorm,
        rope=False,
        chunked=chunked,
        memory_efficient=memory_efficient,
        chunk_size=chunk_size,
        mask=mask,
        dropout=0.0,
        project_output=False,
    )
