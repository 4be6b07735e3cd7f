"""torch's layers and distributions as their formulas say: no fused fast path, and no look at values."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.distributions import Distribution
from torch.nn.modules import transformer

DETECT = "_detect_is_causal_mask"


@contextlib.contextmanager
def slow_path() -> Iterator[None]:
    """While it lasts, nn.TransformerEncoder and nn.MultiheadAttention compute by their definition.

    The fast path is one opaque operator that no graph holds, and it gives other numbers where a row is masked as a
    whole. And a mask without `is_causal` is compared with a causal one at run time, as a branch that no graph can take:
    the mask itself says the same, so the layer is told that it is not known to be causal.

    A distribution compares its arguments with what they may be, as another such branch, and refuses a deviation that an
    extreme case rounds to 0: it is made of any numbers here, but where it is given `validate_args=True` itself.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    detect = getattr(transformer, DETECT, None)
    checks = Distribution._validate_args
    torch.backends.mha.set_fastpath_enabled(False)
    Distribution.set_default_validate_args(False)
    if detect is not None:
        setattr(transformer, DETECT, _as_told)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        Distribution.set_default_validate_args(checks)
        if detect is not None:
            setattr(transformer, DETECT, detect)


def _as_told(mask: Any, is_causal: bool | None = None, size: int | None = None) -> bool:
    return bool(is_causal)
