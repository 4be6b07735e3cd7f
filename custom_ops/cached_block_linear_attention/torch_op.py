"""CachedBlockLinearAttention in torch, in operators that torch differentiates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from temport.custom_ops.block_linear_attention.torch_op import phi
from temport.custom_ops.cached_block_linear_attention.attributes import OP_NAME, CachedBlockLinearAttributes
from temport.custom_ops.ring import Ring, check_sums
from temport.custom_ops.torch_heads import accumulation_dtype
from temport.custom_ops.torch_ring import attended, torch_ring, written
from temport.custom_ops.torch_step import register_step

Outputs = tuple[torch.Tensor, ...]


def cached_block_linear_attention(
    qkv: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    earlier: torch.Tensor,
    block: torch.Tensor,
    lost: torch.Tensor,
    frames: torch.Tensor,
    *,
    num_heads: int,
    feature_map: str = "identity",
    normalizer: str = "key_sum",
    eps: float = 1e-8,
) -> Outputs:
    """One frame of block-linear attention with blocks of N frames: softmax over its block so far, plus the linear
    part over the earlier blocks.

    qkv            `[B, 1, 3*C]` or `[B, 3*C]`, packed query, key, value of the newest frame, heads in contiguous
                   chunks of C
    keys, values   `[B, N, C]`: the current block, frame n in row n mod N
    earlier        `[B, H, D, D+1]`, sum of phi(k)^T [v 1] over the blocks before; `block` over the frames of this one
                   so far; `lost`, what rounding gave to the last additions to both
    frames         `[B, 1]` int64, how many frames came before
    returns        output `[B, 1, C]` or `[B, C]`, as qkv is, then keys, values, earlier, block, lost with this
                   frame in them, of qkv's dtype; sums are float32 (float64 for float64)

    Differentiable once in everything but frames. With `identity` and `key_sum` the divisor can pass through 0, as in
    `block_linear_attention`. Raises ValueError for attributes, shapes or dtypes that do not fit.
    """
    CachedBlockLinearAttributes(num_heads, feature_map, normalizer, eps)
    tensors = (qkv, keys, values, earlier, block, lost, frames)
    _ring(tensors, num_heads)
    outputs: Outputs = torch.ops.temport.cached_block_linear_attention(
        *tensors, num_heads, feature_map, normalizer, eps
    )
    return outputs


def _compute(
    qkv: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    earlier: torch.Tensor,
    block: torch.Tensor,
    lost: torch.Tensor,
    frames: torch.Tensor,
    num_heads: int,
    feature_map: str,
    normalizer: str,
    eps: float,
) -> Outputs:
    query, key, value = qkv.reshape(keys.shape[0], 1, -1).chunk(3, dim=-1)
    slot = frames % keys.shape[1]
    next_keys, next_values = written(keys, key, slot), written(values, value, slot)
    scale = 1.0 / math.sqrt(key.shape[-1] // num_heads)
    inside = attended(query, next_keys, next_values, slot, num_heads, scale)

    dtype = accumulation_dtype(qkv.dtype)
    q, k, v = (x.to(dtype).unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (query, key, value))
    before, sums, lost = (x.to(dtype) for x in (earlier, block, lost))
    weighted = phi(q, feature_map) @ before  # [B, H, 1, D+1]
    total, divisor = weighted[..., :-1], weighted[..., -1:]
    linear = total if normalizer == "none" else total / (divisor + eps)

    # Compensated summation (Kahan 1965): a block's sum is as exact frame by frame as in one matrix product, and so is
    # the sum of all blocks. What the last additions of a block rounded off goes into the next one.
    added = phi(k, feature_map).mT * functional.pad(v, (0, 1), value=1.0) - lost
    grown = (sums + added).to(qkv.dtype).to(dtype)
    complete = torch.where((slot == keys.shape[1] - 1)[:, :, None, None], grown, 0.0)
    through = (before + complete).to(qkv.dtype).to(dtype)
    given = ((grown - sums) - added) + ((through - before) - complete)
    after = (through, grown - complete, given)
    y = inside.to(dtype) + linear.transpose(1, 2).flatten(2)
    y = y.to(qkv.dtype).reshape(*qkv.shape[:-1], keys.shape[2])
    return y, next_keys, next_values, *(x.to(qkv.dtype) for x in after)


def _ring(tensors: Sequence[torch.Tensor], num_heads: int) -> Ring:
    """Sizes of qkv, keys, values, earlier, block, lost and frames."""
    qkv, keys, values, earlier, block, lost, frames = tensors
    ring = torch_ring(OP_NAME, qkv, keys, values, frames, num_heads)
    sums = {"Earlier": earlier, "Block": block, "Lost": lost}
    check_sums(OP_NAME, ring, num_heads, **{name: x.shape for name, x in sums.items()})
    for name, x in sums.items():
        if x.dtype != qkv.dtype:
            raise ValueError(
                f"{OP_NAME}: QKV has dtype {qkv.dtype} but {name} has {x.dtype}; they must be equal."
            )
    return ring


def _shapes(*inputs: Any) -> tuple[tuple[int, ...], ...]:
    """Of the outputs, from all that the torch op takes: seven tensors, num_heads and the other attributes."""
    tensors, num_heads = inputs[:7], inputs[7]
    ring = _ring(tensors, num_heads)
    qkv, *state, _ = tensors
    return (*qkv.shape[:-1], ring.width), *(tuple(x.shape) for x in state)


register_step(
    OP_NAME,
    name="cached_block_linear_attention",
    schema="(Tensor qkv, Tensor keys, Tensor values, Tensor earlier, Tensor block, Tensor lost, Tensor frames, "
    "int num_heads, str feature_map, str normalizer, float eps) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    compute=_compute,
    shapes=_shapes,
)
