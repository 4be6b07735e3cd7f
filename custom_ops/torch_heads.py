"""Torch tensors by head: check that the inputs belong together and view them as `[B, heads, length, dim]`."""

from __future__ import annotations

import torch

from temport.custom_ops.layout import Layout, read_layout


def torch_layout(
    op: str,
    q: torch.Tensor,
    k: torch.Tensor | None,
    v: torch.Tensor | None,
    *,
    num_heads: int,
    kv_num_heads: int,
    key_mask: torch.Tensor | None = None,
) -> Layout:
    """Sizes of the tensors; ValueError when shapes or dtypes do not fit each other."""
    if not q.is_floating_point():
        raise ValueError(f"{op}: Q has dtype {q.dtype}; it must be a floating-point tensor.")
    for name, x in (("K", k), ("V", v)):
        if x is not None and x.dtype != q.dtype:
            raise ValueError(f"{op}: Q has dtype {q.dtype} but {name} has {x.dtype}; they must be equal.")
    if key_mask is not None and key_mask.dtype != torch.bool:
        raise ValueError(f"{op}: key_mask has dtype {key_mask.dtype}; it must be bool, True = attend.")
    return read_layout(
        op,
        q.shape,
        None if k is None else k.shape,
        None if v is None else v.shape,
        num_heads=num_heads,
        kv_num_heads=kv_num_heads,
        key_mask=None if key_mask is None else key_mask.shape,
    )


def by_head(
    q: torch.Tensor, k: torch.Tensor | None, v: torch.Tensor | None, layout: Layout, heads: int, kv_heads: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views of Q `[B, H, T, D]`, K `[B, Hkv, S, D]` and V `[B, Hkv, S, Dv]`."""
    if k is None or v is None:
        q, k, v = q.split([n * layout.head_dim for n in (heads, kv_heads, kv_heads)], dim=2)
    B, T, S = layout.batch, layout.query_length, layout.key_length
    return (
        q.view(B, T, heads, layout.head_dim).transpose(1, 2),
        k.view(B, S, kv_heads, layout.head_dim).transpose(1, 2),
        v.view(B, S, kv_heads, layout.value_dim).transpose(1, 2),
    )


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Softmax and sums are taken in float32 whatever the dtype, and in float64 for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32
