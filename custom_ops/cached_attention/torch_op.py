"""CachedAttention in torch, in operators that torch differentiates."""

from __future__ import annotations

import torch

from temport.custom_ops.cached_attention.attributes import OP_NAME, CachedAttentionAttributes
from temport.custom_ops.torch_ring import attended, torch_ring, written
from temport.custom_ops.torch_step import register_step

Outputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def cached_attention(
    qkv: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    frames: torch.Tensor,
    *,
    num_heads: int,
    scale: float | None = None,
) -> Outputs:
    """Attention of the newest frame of a stream to the last N frames, its own included.

    qkv            `[B, 1, 3*C]` or `[B, 3*C]`, packed query, key, value of the newest frame, heads in contiguous
                   chunks of C
    keys, values   `[B, N, C]`: frame n stands in row n mod N
    frames         `[B, 1]` int64, how many frames came before; negative: no row is filled and the output is 0
    scale          default 1/sqrt(C / num_heads)
    returns        output `[B, 1, C]` or `[B, C]`, as qkv is, and the caches with this frame in them, of qkv's
                   dtype; the softmax is float32 (float64 for float64)

    Differentiable once in qkv, keys, values. Raises ValueError for attributes, shapes or dtypes that do not fit.
    """
    a = CachedAttentionAttributes(num_heads, scale)
    ring = torch_ring(OP_NAME, qkv, keys, values, frames, num_heads)
    outputs: Outputs = torch.ops.temport.cached_attention(
        qkv, keys, values, frames, num_heads, a.scale_for(ring.width // num_heads)
    )
    return outputs


def _compute(
    qkv: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    frames: torch.Tensor,
    num_heads: int,
    scale: float,
) -> Outputs:
    query, key, value = qkv.reshape(keys.shape[0], 1, -1).chunk(3, dim=-1)
    slot = frames % keys.shape[1]
    next_keys, next_values = written(keys, key, slot), written(values, value, slot)
    output = attended(query, next_keys, next_values, frames, num_heads, scale)
    return output.reshape(*qkv.shape[:-1], keys.shape[2]), next_keys, next_values


def _shapes(
    qkv: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    frames: torch.Tensor,
    num_heads: int,
    scale: float,
) -> tuple[tuple[int, ...], ...]:
    ring = torch_ring(OP_NAME, qkv, keys, values, frames, num_heads)
    return (*qkv.shape[:-1], ring.width), tuple(keys.shape), tuple(values.shape)


register_step(
    OP_NAME,
    name="cached_attention",
    schema="(Tensor qkv, Tensor keys, Tensor values, Tensor frames, int num_heads, float scale)"
    " -> (Tensor, Tensor, Tensor)",
    compute=_compute,
    shapes=_shapes,
)
