"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864) with half-split pairing.

Feature d of the first half turns with feature d of the second half: `[x1 cos - x2 sin, x1 sin + x2 cos]`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from temport.graphs.baking import LengthTable

BASE = 10000.0


def rope_tables(
    length: int, head_dim: int, *, base: float = BASE, device: torch.device | None = None
) -> Tensor:
    """float64 `[length, 2, head_dim/2]`: cosines at [:, 0], sines at [:, 1], of t * base^(-2d/head_dim)."""
    if head_dim % 2:
        raise ValueError(
            f"rotary embedding pairs the features of a head, so head_dim must be even, not {head_dim}"
        )
    d = torch.arange(0, head_dim, 2, dtype=torch.float64, device=device) / head_dim
    t = torch.arange(length, dtype=torch.float64, device=device)
    angle = t[:, None] * base**-d
    return torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """x `[..., T, head_dim]` turned by a table `[T, 2, head_dim/2]`, in the dtype of x."""
    cos, sin = table.to(x.dtype).unbind(dim=1)
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat([x1 * cos - x2 * sin, x1 * sin + x2 * cos], dim=-1)


def apply_rope(query: Tensor, key: Tensor, *, base: float = BASE) -> tuple[Tensor, Tensor]:
    """Turn query `[..., T, head_dim]` and key `[..., S, head_dim]` by their positions.

    As in attention, the last query stands at the last key: row t of the query is at position t + S - T.
    """
    T, S = query.shape[-2], key.shape[-2]
    table = rope_tables(max(T, S), query.shape[-1], base=base, device=query.device)
    offset = max(S - T, 0)
    return rotate(query, table[offset : offset + T]), rotate(key, table[:S])


class RotaryTable(LengthTable):
    """Cosines and sines for one head width, `[n, 2, head_dim/2]`."""

    def __init__(self, head_dim: int, *, base: float = BASE) -> None:
        super().__init__()
        rope_tables(1, head_dim)  # refuses an odd width when the model is built
        self.head_dim, self.base = head_dim, base

    def compute(self, length: int) -> Tensor:
        return rope_tables(length, self.head_dim, base=self.base, device=self.like.device)
