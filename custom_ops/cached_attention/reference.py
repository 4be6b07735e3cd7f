"""The frozen truth of CachedAttention: one stream and one head at a time, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.custom_ops.cached_attention.attributes import OP_NAME, CachedAttentionAttributes
from temport.custom_ops.ring import read_ring

Array = npt.NDArray[np.float64]


def reference(
    inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]
) -> tuple[Array, Array, Array]:
    """The newest frame's key and value take row Frames mod N; its query attends to the rows filled so far.

    inputs    QKV `[B, 1, 3*C]` or `[B, 3*C]`, Keys and Values `[B, N, C]`, Frames int64 `[B, 1]`: the frames before
              this one. The frame's key and value are rounded to the type of the caches
    returns   Y, of QKV's axes with C in place of 3*C, NextKeys and NextValues `[B, N, C]`, float64
    Rows 0..min(Frames, N-1) are filled; with negative Frames none is, and Y is 0. Raises ValueError for
    attributes or shapes that do not fit.
    """
    a = CachedAttentionAttributes.parse(attributes)
    if len(inputs) != 4 or any(x is None for x in inputs):
        raise ValueError(f"{OP_NAME}: QKV, Keys, Values and Frames must all be given.")
    qkv, keys, values, frames = (np.asarray(x) for x in inputs)
    ring = read_ring(OP_NAME, qkv.shape, keys.shape, values.shape, frames.shape, num_heads=a.num_heads)
    queries, newest_keys, newest_values = np.split(
        qkv.reshape(ring.batch, 3 * ring.width).astype(np.float64), 3, axis=1
    )
    with np.errstate(over="ignore"):
        newest_keys, newest_values = newest_keys.astype(keys.dtype), newest_values.astype(values.dtype)
    next_keys, next_values = keys.astype(np.float64), values.astype(np.float64)
    output = np.zeros((ring.batch, ring.width))
    head_dim = ring.width // a.num_heads
    for b in range(ring.batch):
        before = int(frames[b, 0])
        slot = before % ring.capacity
        next_keys[b, slot], next_values[b, slot] = newest_keys[b], newest_values[b]
        filled = max(0, min(before + 1, ring.capacity))
        if filled == 0:
            continue
        for h in range(a.num_heads):
            head = slice(h * head_dim, (h + 1) * head_dim)
            scores = a.scale_for(head_dim) * (next_keys[b, :filled, head] @ queries[b, head])
            weights = np.exp(scores - scores.max())
            output[b, head] = weights @ next_values[b, :filled, head] / weights.sum()
    return output.reshape(*qkv.shape[:-1], ring.width), next_keys, next_values
