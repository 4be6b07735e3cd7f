"""A ring of cached frames in torch: check what belongs together, write the newest frame, attend to the rows filled."""

from __future__ import annotations

import torch

from temport.custom_ops.ring import Ring, read_ring
from temport.custom_ops.torch_heads import accumulation_dtype


def torch_ring(
    op: str,
    qkv: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    frames: torch.Tensor,
    num_heads: int,
) -> Ring:
    """Sizes of the tensors; ValueError when shapes or dtypes do not fit each other."""
    if not qkv.is_floating_point():
        raise ValueError(f"{op}: QKV has dtype {qkv.dtype}; it must be a floating-point tensor.")
    for name, x in (("Keys", keys), ("Values", values)):
        if x.dtype != qkv.dtype:
            raise ValueError(f"{op}: QKV has dtype {qkv.dtype} but {name} has {x.dtype}; they must be equal.")
    if frames.dtype != torch.int64:
        raise ValueError(f"{op}: Frames has dtype {frames.dtype}; it must be int64.")
    return read_ring(op, qkv.shape, keys.shape, values.shape, frames.shape, num_heads=num_heads)


def written(cache: torch.Tensor, newest: torch.Tensor, slot: torch.Tensor) -> torch.Tensor:
    """Cache `[B, N, ...]` with row slot `[B, 1]` of each entry replaced by newest `[B, 1, ...]`; a new tensor."""
    rows = torch.arange(cache.shape[1], device=cache.device) == slot
    return torch.where(rows.view(*rows.shape, *[1] * (cache.dim() - 2)), newest, cache)


def attended(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    last: torch.Tensor,
    num_heads: int,
    scale: float,
) -> torch.Tensor:
    """softmax(scale * q K^T) V of query `[B, 1, C]` over rows 0..last `[B, 1]` of `[B, N, C]`, by head: `[B, 1, C]`.

    Where last is negative no row is filled and the result is 0.
    """
    dtype = accumulation_dtype(query.dtype)
    q, k, v = (
        x.to(dtype).unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (query, keys, values)
    )  # [B, H, rows, D]
    filled = (torch.arange(keys.shape[1], device=keys.device) <= last)[:, None, None]
    scores = torch.where(filled, (q @ k.mT) * scale, torch.finfo(dtype).min)
    weights = torch.where(filled, scores.softmax(-1), 0.0)
    return (weights @ v).transpose(1, 2).flatten(2).to(query.dtype)
