"""The two feed-forward blocks: GELU (Hendrycks & Gimpel 2016) and gated SiLU (SwiGLU, Shazeer 2020)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from temport.graphs.options import check_counts, check_rate


def gated_inner_size(hidden_size: int) -> int:
    """round(2.667 * hidden_size), rounded up to a multiple of 8: 256 -> 688.

    Two thirds of the usual 4x expansion, so that three matrices cost what two did.
    """
    return -(-round(2.667 * hidden_size) // 8) * 8


class FeedForward(nn.Module):
    """down(gelu(up x)) on `[..., hidden_size]`; exact erf GELU, dropout at the end."""

    def __init__(self, hidden_size: int, *, inner_size: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        inner = 4 * hidden_size if inner_size is None else inner_size
        check_counts(hidden_size=hidden_size, inner_size=inner)
        check_rate("dropout", dropout)
        self.up = nn.Linear(hidden_size, inner)
        self.down = nn.Linear(inner, hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.down(functional.gelu(self.up(x))))


class GatedFeedForward(nn.Module):
    """down(silu(gate x) * up x) on `[..., hidden_size]`, dropout at the end."""

    def __init__(self, hidden_size: int, *, inner_size: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        inner = gated_inner_size(hidden_size) if inner_size is None else inner_size
        check_counts(hidden_size=hidden_size, inner_size=inner)
        check_rate("dropout", dropout)
        self.gate = nn.Linear(hidden_size, inner)
        self.up = nn.Linear(hidden_size, inner)
        self.down = nn.Linear(inner, hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.down(functional.silu(self.gate(x)) * self.up(x)))
