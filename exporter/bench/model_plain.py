"""The models as a user would write them without our ops: the layers of torch, and attention by
`scaled_dot_product_attention`.

Same weights and same numbers as the architectures of `graphs`; these are what every peer compiles or exports.
Whole sequences only: the `memory` of a stream, which their callers pass on, is None.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, pad, scaled_dot_product_attention

from temport.graphs.attention_layers import MultiHeadSelfAttention
from temport.graphs.baking import bake
from temport.graphs.dms import MultiHeadAttentionLayer
from temport.graphs.lightning import LightningAttention
from temport.graphs.lstm import LSTM
from temport.graphs.mega import GatedAttention


def plain(module: nn.Module, length: int) -> nn.Module:
    """A copy of `module` (eval mode) for sequences of `length` frames, its attention and LSTM layers replaced.

    Tables that depend on positions only are constants here too, as in any sensible deployment.
    """
    twin = copy.deepcopy(module)
    bake(twin, length)
    for layer, replace in REPLACEMENTS.items():
        if isinstance(twin, layer):
            return replace(twin, length)
        for parent in list(twin.modules()):
            for name, child in parent.named_children():
                if isinstance(child, layer):
                    setattr(parent, name, replace(child, length))
    return twin.eval()


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`[B, T, H*D]` -> `[B, H, T, D]`."""
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """`[B, H, T, D]` -> `[B, T, H*D]`."""
    return x.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Causal or windowed self-attention; a window needs a boolean mask, which SDPA takes as a tensor."""

    mask: Tensor | None

    def __init__(self, layer: MultiHeadSelfAttention, length: int) -> None:
        super().__init__()
        self.qkv, self.output, self.heads = layer.qkv, layer.output, layer.num_heads
        mask = torch.from_numpy(layer.rule.array(length, length)) if layer.rule.window else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor, memory: None = None) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        y = merge_heads(scaled_dot_product_attention(q, k, v, self.mask, is_causal=self.mask is None))
        return y if self.output is None else self.output(y)


class MegaAttention(nn.Module):
    """Mega's gated single-head attention with the softmax kernel."""

    def __init__(self, layer: GatedAttention, length: int) -> None:
        super().__init__()
        self.qkv, self.gate, self.out = layer.qkv, layer.gate, layer.out

    def forward(self, x: Tensor, memory: None = None) -> Tensor:
        q, k, v = (split_heads(part, 1) for part in self.qkv(x).chunk(3, dim=-1))
        attended = merge_heads(scaled_dot_product_attention(q, k, v, is_causal=True))
        return self.out(torch.sigmoid(self.gate(x)) * attended)


class BlockAttention(nn.Module):
    """Lightning's attention, all blocks at once: padded to whole blocks, earlier blocks by a cumulative sum."""

    def __init__(self, layer: LightningAttention, length: int) -> None:
        super().__init__()
        self.qkv, self.out, self.heads, self.block = layer.qkv, layer.out, layer.num_heads, layer.block_size
        self.positive, self.normalized = layer.feature_map == "elu1", layer.normalizer == "key_sum"

    def forward(self, x: Tensor, memory: None = None) -> Tensor:
        B, T, _ = x.shape
        blocks = -(-T // self.block)
        qkv = pad(self.qkv(x), (0, 0, 0, blocks * self.block - T))
        # [B, H*blocks, block, D]: every block is a head of its own
        shape = (B, self.heads * blocks, self.block, -1)
        q, k, v = (split_heads(part, self.heads).reshape(shape) for part in qkv.chunk(3, dim=-1))
        y = scaled_dot_product_attention(q, k, v, is_causal=True)
        if blocks > 1:
            fq, fk = (elu(q) + 1, elu(k) + 1) if self.positive else (q, k)
            past = fq @ self._earlier(fk.transpose(-1, -2) @ v, blocks)
            if self.normalized:
                past = past / (fq @ self._earlier(fk.sum(dim=2).unsqueeze(-1), blocks) + 1e-8)
            y = y + past
        y = y.reshape(B, self.heads, blocks * self.block, -1)[:, :, :T]
        return self.out(merge_heads(y))

    def _earlier(self, state: Tensor, blocks: int) -> Tensor:
        """Per block the sum over the blocks before it, 0 for the first; `[B, H*blocks, D, N]`."""
        total = state.unflatten(1, (self.heads, blocks)).cumsum(dim=2)
        return pad(total[:, :, :-1], (0, 0, 0, 0, 1, 0)).flatten(1, 2)


class CrossAttention(nn.Module):
    """The layer of DirectMultiStep; the key mask goes to SDPA as it is."""

    def __init__(self, layer: MultiHeadAttentionLayer, length: int) -> None:
        super().__init__()
        self.query, self.key, self.value = layer.query, layer.key, layer.value
        self.projection, self.heads = layer.projection, layer.n_heads

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        parts = (self.query(query), self.key(key), self.value(value))
        q, k, v = (split_heads(part, self.heads) for part in parts)
        y = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.projection(merge_heads(y))


class Recurrence(nn.Module):
    """`torch.nn.LSTM` with the layer's weights."""

    def __init__(self, layer: LSTM, length: int) -> None:
        super().__init__()
        hidden, inputs = layer.weight_hh.shape[1], layer.weight_ih.shape[1]
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True, dtype=layer.bias.dtype)
        own = {
            "weight_ih_l0": layer.weight_ih,
            "weight_hh_l0": layer.weight_hh,
            "bias_ih_l0": layer.bias,
            "bias_hh_l0": torch.zeros_like(layer.bias),
        }
        self.lstm.load_state_dict(own)

    def forward(self, x: Tensor, memory: None = None) -> Tensor:
        return self.lstm(x)[0]


REPLACEMENTS = {
    MultiHeadSelfAttention: SelfAttention,
    GatedAttention: MegaAttention,
    LightningAttention: BlockAttention,
    MultiHeadAttentionLayer: CrossAttention,
    LSTM: Recurrence,
}
"""Layer of `graphs` -> its plain counterpart."""
