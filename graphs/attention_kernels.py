"""Single-head attention weights other than softmax, for Mega: the paper's Laplace function and the L1 kernel.

Both are plain torch; score memory is O(seq^2) per batch entry.
"""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor

LAPLACE_MU = math.sqrt(1 / 2)
LAPLACE_SIGMA = math.sqrt(1 / (4 * math.pi))
NORMALIZER_EPS = 1e-8
L1_FEATURES = 32
"""Features whose differences are in memory at once."""


def laplace_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Weights 0.5 (1 + erf((x - mu) / (sigma sqrt 2))) of x = q.k / sqrt(dim), rows normalised to sum 1.

    The Laplace function of Ma et al. (arXiv 2209.10655, section 3.3). query `[batch, T, dim]`, key and value
    `[batch, S, dim]`, mask bool, broadcastable to `[batch, T, S]`, True where a query may see a key. The weight
    of a very negative score is 0, so a row of only such scores gives 0, like a row with no allowed key.
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    x = query.to(dtype) @ key.to(dtype).transpose(1, 2) / math.sqrt(query.shape[-1])
    # erfc(-z) is 1 + erf(z) without its cancellation: a row of low scores is normalised, so small weights count
    weights = 0.5 * torch.erfc((LAPLACE_MU - x) / (LAPLACE_SIGMA * math.sqrt(2)))
    return _weighted(torch.where(mask, weights, 0.0), value)


def l1_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Weights 1 / (1 + |q - k|_1), rows normalised to sum 1; every query sees every key, later ones too.

    This is what the reference implementation computes under the name of Laplace attention, and what weights
    trained there need. query, key, value `[batch, seq, dim]`. The differences are formed for 32 features at a
    time, so the largest tensor is `[batch, seq, seq, 32]`: 0.5 MB per batch entry at 60 frames, 34 MB at 512
    (float32). Training keeps all of them, dim/32 times as much.
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    groups = zip(
        query.to(dtype).split(L1_FEATURES, dim=-1), key.to(dtype).split(L1_FEATURES, dim=-1), strict=True
    )
    parts = ((q.unsqueeze(2) - k.unsqueeze(1)).abs().sum(dim=-1) for q, k in groups)
    distance = reduce(torch.add, parts)
    return _weighted(1 / (1 + distance), value)


def _weighted(weights: Tensor, value: Tensor) -> Tensor:
    weights = weights / (weights.sum(dim=-1, keepdim=True) + NORMALIZER_EPS)
    return (weights @ value.to(weights.dtype)).to(value.dtype)
