"""The frozen truth of BlockLinearAttention: the definition block by block, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.custom_ops.block_linear_attention.attributes import OP_NAME, BlockLinearAttributes
from temport.custom_ops.layout import read_layout


def reference(
    inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]
) -> npt.NDArray[np.float64]:
    """Per block b: causal softmax attention inside the block plus phi(q) S_b / (phi(q).z_b + eps).

    S_b and z_b sum phi(k)^T v and phi(k) over the earlier blocks; block 0 has no linear part.

    inputs    Q `[B, T, H*D]`, K `[B, T, H*D]`, V `[B, T, H*Dv]`, or Q alone `[B, T, 3*H*D]` with packed QKV
    returns   `[B, T, H*Dv]` float64
    Raises ValueError for attributes or shapes that do not fit.

    With `identity` and `key_sum` the denominator phi(q).z_b can pass through 0, so single outputs can be
    arbitrarily large and any comparison of two computations there is ill-conditioned; `elu1` keeps it
    positive.
    """
    q, k, v = [*inputs, None, None][:3]
    if q is None:
        raise ValueError(f"{OP_NAME}: Q is missing; it is the one input that must be given.")
    a = BlockLinearAttributes.parse(attributes)
    H = a.num_heads
    sizes = read_layout(
        OP_NAME,
        q.shape,
        None if k is None else k.shape,
        None if v is None else v.shape,
        num_heads=H,
        kv_num_heads=H,
    )
    B, T, D = sizes.batch, sizes.query_length, sizes.head_dim
    a.check_lengths(sizes)
    if k is None or v is None:
        q, k, v = np.split(q, 3, axis=2)
    qh, kh, vh = (
        x.astype(np.float64).reshape(B, T, H, x.shape[2] // H).transpose(0, 2, 1, 3) for x in (q, k, v)
    )
    scale = a.scale_for(D)

    state = np.zeros((B, H, D, sizes.value_dim))  # S_b
    key_sum = np.zeros((B, H, D))  # z_b
    output = np.empty((B, H, T, sizes.value_dim))
    for start in range(0, T, a.block_size):
        rows = slice(start, min(start + a.block_size, T))
        qb, kb, vb = qh[:, :, rows], kh[:, :, rows], vh[:, :, rows]
        causal = np.tril(np.ones((qb.shape[2], qb.shape[2]), dtype=bool))
        scores = np.where(causal, scale * (qb @ kb.swapaxes(-1, -2)), -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        output[:, :, rows] = (weights / weights.sum(axis=-1, keepdims=True)) @ vb
        phi_q, phi_k = _phi(qb, a.feature_map), _phi(kb, a.feature_map)
        if start > 0:
            inter = phi_q @ state
            if a.normalizer == "key_sum":
                inter = inter / ((phi_q @ key_sum[..., None]) + a.eps)
            output[:, :, rows] += inter
        state = state + phi_k.swapaxes(-1, -2) @ vb
        key_sum = key_sum + phi_k.sum(axis=2)
    return output.transpose(0, 2, 1, 3).reshape(B, T, H * sizes.value_dim)


def _phi(x: npt.NDArray[np.float64], feature_map: str) -> npt.NDArray[np.float64]:
    """elu(x) + 1 is x + 1 for positive x and exp(x) below."""
    return x if feature_map == "identity" else np.where(x > 0, x + 1.0, np.exp(np.minimum(x, 0.0)))
