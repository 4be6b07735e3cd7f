"""The frozen truth of CachedBlockLinearAttention: one stream and one head at a time, in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.custom_ops.cached_block_linear_attention.attributes import OP_NAME, CachedBlockLinearAttributes
from temport.custom_ops.ring import check_sums, read_ring

Array = npt.NDArray[np.float64]


def reference(inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """One frame of block-linear attention: softmax over its block so far plus phi(q) S / (phi(q).z + eps).

    inputs    QKV `[B, 1, 3*C]` or `[B, 3*C]`, Keys and Values `[B, N, C]`: the rows of the current block of N frames,
              Earlier, Block, Lost `[B, H, D, D+1]`: sums of phi(k)^T [v 1] over the blocks before, over this block's
              frames so far, and what rounding took from the last addition to Block; Frames int64 `[B, 1]`
    returns   Y, of QKV's axes with C in place of 3*C, NextKeys, NextValues, NextEarlier, NextBlock, NextLost, float64
    The frame takes row Frames mod N; at the last row its block goes over into Earlier. NextBlock is rounded to the
    type of Block, which is what NextLost speaks of. Raises ValueError for attributes or shapes that do not fit.
    """
    a = CachedBlockLinearAttributes.parse(attributes)
    if len(inputs) != 7 or any(x is None for x in inputs):
        raise ValueError(f"{OP_NAME}: all seven inputs must be given.")
    qkv, keys, values, earlier, block, lost, frames = (np.asarray(x) for x in inputs)
    held = block.dtype
    ring = read_ring(OP_NAME, qkv.shape, keys.shape, values.shape, frames.shape, num_heads=a.num_heads)
    check_sums(OP_NAME, ring, a.num_heads, Earlier=earlier.shape, Block=block.shape, Lost=lost.shape)
    queries, newest_keys, newest_values = np.split(
        qkv.reshape(ring.batch, 3 * ring.width).astype(np.float64), 3, axis=1
    )
    next_keys, next_values, earlier, block, lost = (
        x.astype(np.float64) for x in (keys, values, earlier, block, lost)
    )
    next_earlier, next_block, next_lost = (np.empty_like(earlier) for _ in range(3))
    output = np.empty((ring.batch, ring.width))
    head_dim = ring.width // a.num_heads
    for b in range(ring.batch):
        slot = int(frames[b, 0]) % ring.capacity
        next_keys[b, slot], next_values[b, slot] = newest_keys[b], newest_values[b]
        for h in range(a.num_heads):
            head = slice(h * head_dim, (h + 1) * head_dim)
            q, k, v = queries[b, head], newest_keys[b, head], newest_values[b, head]
            scores = next_keys[b, : slot + 1, head] @ q / math.sqrt(head_dim)
            weights = np.exp(scores - scores.max())
            inside = weights @ next_values[b, : slot + 1, head] / weights.sum()
            weighted = _phi(q, a.feature_map) @ earlier[b, h]
            divisor = weighted[-1] + a.eps if a.normalizer == "key_sum" else 1.0
            output[b, head] = inside + weighted[:-1] / divisor

            added = np.outer(_phi(k, a.feature_map), [*v, 1.0]) - lost[b, h]
            grown = (block[b, h] + added).astype(held).astype(np.float64)
            complete = grown if slot == ring.capacity - 1 else np.zeros_like(grown)
            next_earlier[b, h] = earlier[b, h] + complete
            next_block[b, h] = grown - complete
            next_lost[b, h] = (grown - block[b, h]) - added
    return (
        output.reshape(*qkv.shape[:-1], ring.width),
        next_keys,
        next_values,
        next_earlier,
        next_block,
        next_lost,
    )


def _phi(x: Array, feature_map: str) -> Array:
    """elu(x) + 1 is x + 1 for positive x and exp(x) below."""
    return x if feature_map == "identity" else np.where(x > 0, x + 1.0, np.exp(np.minimum(x, 0.0)))
