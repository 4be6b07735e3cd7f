"""The frozen truth of OnlineSoftmaxAttention: the definition, in float64, with the whole T x S table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.custom_ops.layout import read_layout
from temport.custom_ops.online_softmax_attention.attributes import OP_NAME, OnlineSoftmaxAttributes


def reference(
    inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]
) -> npt.NDArray[np.float64]:
    """softmax(scale * Q K^T over the allowed keys) V; a query with no allowed key gives 0.

    inputs    Q `[B, T, H*D]`, K `[B, S, Hkv*D]`, V `[B, S, Hkv*Dv]`, key_mask `[B, S]` bool (True = attend);
              trailing inputs may be left out; Q alone `[B, T, (H + 2*Hkv)*D]` carries packed QKV
    returns   `[B, T, H*Dv]` float64
    Raises ValueError for attributes or shapes that do not fit.
    """
    q, k, v, key_mask = [*inputs, None, None, None][:4]
    if q is None:
        raise ValueError(f"{OP_NAME}: Q is missing; it is the one input that must be given.")
    a = OnlineSoftmaxAttributes.parse(attributes)
    heads, kv_heads = a.num_heads, a.kv_heads
    sizes = read_layout(
        OP_NAME,
        q.shape,
        None if k is None else k.shape,
        None if v is None else v.shape,
        num_heads=heads,
        kv_num_heads=kv_heads,
        key_mask=None if key_mask is None else key_mask.shape,
    )
    B, T, S, D = sizes.batch, sizes.query_length, sizes.key_length, sizes.head_dim
    if k is None or v is None:
        q, k, v = np.split(q, [heads * D, (heads + kv_heads) * D], axis=2)

    def by_head(x: npt.NDArray[Any], n: int) -> npt.NDArray[np.float64]:
        rows = x.astype(np.float64).reshape(B, x.shape[1], n, x.shape[2] // n).transpose(0, 2, 1, 3)
        return np.repeat(rows, heads // n, axis=1)

    qh, kh, vh = by_head(q, heads), by_head(k, kv_heads), by_head(v, kv_heads)
    allowed = np.broadcast_to(a.rule.array(T, S), (B, 1, T, S))
    if key_mask is not None:
        allowed = allowed & key_mask.astype(bool)[:, None, None, :]

    scores = np.where(allowed, a.scale_for(D) * (qh @ kh.swapaxes(-1, -2)), -np.inf)
    highest = scores.max(axis=-1, keepdims=True, initial=np.finfo(np.float64).min)
    weights = np.where(allowed, np.exp(scores - highest), 0.0)
    total = weights.sum(axis=-1, keepdims=True)
    output = (weights / np.where(total == 0, 1.0, total)) @ vh
    return output.transpose(0, 2, 1, 3).reshape(B, T, heads * sizes.value_dim)
