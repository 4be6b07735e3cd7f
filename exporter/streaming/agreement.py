"""How far two computations of the same outputs are from each other, and how far rounding alone may take them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

DRAWS = 8
"""Copies of a model that say how far rounding takes it: a tie falls to the other side in half of them."""
ROUNDINGS = 16
"""So much of what a unit in the last place of inputs and weights makes may come of sums in another order."""


STRAY = 16
"""Beside so many entries that rounding takes anywhere one more may be off: a tie that never fell to the other side."""


def differences(own: Tensor, other: Tensor) -> Tensor:
    """Entry by entry; infinite where one is NaN or infinite and the other is not the same."""
    a, b = own.double(), other.double()
    same = (a == b) | (a.isnan() & b.isnan())
    return torch.where(same, 0.0, (a - b).abs()).nan_to_num(nan=torch.inf, posinf=torch.inf)


def apart(own: Tensor, other: Tensor) -> float:
    """The largest difference."""
    off = differences(own, other)
    return float(off.amax()) if off.numel() else 0.0


def size(own: Tensor) -> float:
    """What differences are relative to: the largest number. Integers have no scale: they are equal or not."""
    if not own.is_floating_point() or not own.numel():
        return 0.0
    return float(own.abs().nan_to_num(nan=0.0, posinf=0.0).amax())


def agree(own: Tensor, other: Tensor, relative: float, moved: Sequence[Tensor] = ()) -> bool:
    """Whether `other` is the same, but for rounding.

    relative  how far it may be from `own`, in units of its size
    moved     the same outputs for inputs and weights that are off by a rounding each. A sign of what cancels to 0, or
              an index among equals, is what rounding makes of it: no other computation can be held to it. All other
              entries are held to `relative`
    """
    limit = relative * size(own)
    off = differences(own, other)
    reach = [ROUNDINGS * differences(own, m) for m in moved]
    taken = [far > limit for far in reach]
    known = torch.stack(taken).any(0) if taken else torch.zeros_like(off, dtype=torch.bool)
    most = max(float(far.amax()) for far in reach) if reach and off.numel() else limit
    strays = int(((off > limit) & ~known).sum())
    return bool((off <= max(limit, most)).all()) and strays <= int(known.sum()) // STRAY
