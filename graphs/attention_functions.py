"""Attention as plain functions on `[batch, seq, dim]` (or any leading axes): one definition, three ways to
compute.

All three divide the scores by sqrt(dim), take the softmax in at least float32, and give 0 for a row with no
allowed key.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from temport.custom_ops.mask import MaskRule
from temport.graphs.options import check_choice, check_counts

ALIGNMENTS = ("start", "end")
"""Where queries stand among more or fewer keys: the first at the first key, or the last at the last."""


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None
) -> Tensor:
    """softmax(Q K^T / sqrt(dim)) V, with the whole score matrix in memory.

    query `[..., T, dim]`, key `[..., S, dim]`, value `[..., S, dim_v]` -> `[..., T, dim_v]`; mask is bool,
    broadcastable to `[..., T, S]`, True where a query may see a key.
    """
    scores = _scores(query, key)
    if mask is None:
        return (torch.softmax(scores, dim=-1) @ value.to(scores.dtype)).to(query.dtype)
    _check_mask(mask, query, key)
    # A row with no key stays finite through the softmax (all scores equal) and is then set to 0.
    lowest = torch.finfo(scores.dtype).min
    weights = torch.softmax(torch.where(mask, scores, lowest), dim=-1)
    weights = torch.where(mask, weights, 0.0)
    return (weights @ value.to(scores.dtype)).to(query.dtype)


def chunked_attention(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None, chunk_size: int = 32
) -> Tensor:
    """The same result, `chunk_size` queries at a time: score memory O(chunk_size * S) instead of O(T * S).

    The loop runs over T, so an export needs a fixed length. Takes any boolean mask.
    """
    check_counts(chunk_size=chunk_size)
    T, S = query.shape[-2], key.shape[-2]
    if mask is not None:
        _check_mask(mask, query, key)
        mask = mask.expand(*mask.shape[:-2], T, S)
    chunks = []
    for start in range(0, T, chunk_size):
        rows = slice(start, min(start + chunk_size, T))
        chunk_mask = None if mask is None else mask[..., rows, :]
        chunks.append(scaled_dot_product_attention(query[..., rows, :], key, value, mask=chunk_mask))
    return torch.cat(chunks, dim=-2)


def memory_efficient_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    chunk_size: int = 32,
    causal: bool = False,
    window: int = 0,
    alignment: str = "start",
) -> Tensor:
    """The same result with a running maximum and sum over `chunk_size` keys at a time (Rabe & Staats 2021,
    arXiv 2112.05682): memory O(T * chunk_size).

    `causal` and `window` follow `MaskRule`. Where T != S, `alignment="start"` puts the first query at the first key,
    as the reference implementation does, and `"end"` the last query at the last key, as the op's default does. The
    loop runs over S, so an export needs a fixed length; the attention layers use the fused op for the same algorithm
    instead.
    """
    check_counts(chunk_size=chunk_size)
    check_choice("alignment", alignment, ALIGNMENTS)
    T, S = query.shape[-2], key.shape[-2]
    rule = MaskRule(causal=causal, window=window, query_offset=0 if alignment == "start" else None)
    rows = torch.arange(T, device=query.device)[:, None] + rule.offset(T, S)
    columns = torch.arange(S, device=query.device)[None, :]
    dtype = torch.promote_types(query.dtype, torch.float32)
    lowest = torch.finfo(dtype).min
    out = query.new_zeros((*query.shape[:-1], value.shape[-1]), dtype=dtype)
    total = query.new_zeros((*query.shape[:-1], 1), dtype=dtype)
    peak = torch.full_like(total, lowest)
    for start in range(0, S, chunk_size):
        part = slice(start, min(start + chunk_size, S))
        scores = _scores(query, key[..., part, :])
        allowed = rule.allows(rows, columns[:, part]).expand(scores.shape[-2:])
        scores = torch.where(allowed, scores, lowest)
        new_peak = torch.maximum(peak, scores.amax(dim=-1, keepdim=True))
        weights = torch.where(allowed, torch.exp(scores - new_peak), 0.0)
        shrink = torch.exp(peak - new_peak)
        out = out * shrink + weights @ value[..., part, :].to(dtype)
        total = total * shrink + weights.sum(dim=-1, keepdim=True)
        peak = new_peak
    return (out / torch.where(total == 0, 1.0, total)).to(query.dtype)


def _scores(query: Tensor, key: Tensor) -> Tensor:
    """Q K^T / sqrt(dim) in float32 or better: half types lose the differences that softmax lives on."""
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"query has {query.shape[-1]} features and key {key.shape[-1]}; they must be the same"
        )
    dtype = torch.promote_types(query.dtype, torch.float32)
    return (query.to(dtype) @ key.to(dtype).transpose(-1, -2)) / math.sqrt(query.shape[-1])


def _check_mask(mask: Tensor, query: Tensor, key: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}; give torch.bool, True where a query may see a key")
    T, S = query.shape[-2], key.shape[-2]
    if mask.shape[-2] not in (1, T) or mask.shape[-1] not in (1, S):
        raise ValueError(f"mask has shape {list(mask.shape)}; its last two axes must fit [{T}, {S}]")
