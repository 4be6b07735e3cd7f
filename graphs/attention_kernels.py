"""Single-head attention weights other than softmax, for Mega: the paper's Laplace function, with its rows normalised
or as it stands there, and the L1 kernel.

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

    The Laplace function of Ma et al. (arXiv 2209.10655, section 3.3), but scaled and normalised as softmax
    attention is. The paper does neither: `paper_laplace_attention`. Nor is it what the reference implementation
    computes under this name: `l1_attention`. query `[batch, T, dim]`, key and value `[batch, S, dim]`, mask bool,
    broadcastable to `[batch, T, S]`, True where a query may see a key. The weight of a very negative score is 0, so
    a row of only such scores gives 0, like a row with no allowed key.
    """
    scores = _scores(query, key) / math.sqrt(query.shape[-1])
    return _weighted(torch.where(mask, _laplace(scores), 0.0), value)


def paper_laplace_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Weights 0.5 (1 + erf((x - mu) / (sigma sqrt 2))) of x = q.k / n, n the keys that the query may see.

    Exactly as in Ma et al. (arXiv 2209.10655, section 3.3) and their code, without the relative position bias that
    they add to x: the sum of a row's weights is what it is, nothing normalises it. Shapes as in
    `laplace_attention`; a row with no allowed key gives 0.
    """
    scores = _scores(query, key)
    seen = mask.sum(dim=-1, keepdim=True).clamp(min=1).to(scores.dtype)
    weights = torch.where(mask, _laplace(scores / seen), 0.0)
    return (weights @ value.to(weights.dtype)).to(value.dtype)


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


def _scores(query: Tensor, key: Tensor) -> Tensor:
    dtype = torch.promote_types(query.dtype, torch.float32)
    return query.to(dtype) @ key.to(dtype).transpose(1, 2)


def _laplace(x: Tensor) -> Tensor:
    # erfc(-z) is 1 + erf(z) without its cancellation: where a row of low scores is normalised, small weights count
    return 0.5 * torch.erfc((LAPLACE_MU - x) / (LAPLACE_SIGMA * math.sqrt(2)))


def _weighted(weights: Tensor, value: Tensor) -> Tensor:
    weights = weights / (weights.sum(dim=-1, keepdim=True) + NORMALIZER_EPS)
    return (weights @ value.to(weights.dtype)).to(value.dtype)
