"""Layer normalisation: biased variance, y = (x - mean) / sqrt(var + eps) * weight + bias (Ba et al. 2016)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

EPS = 1e-5
"""epsilon of every layer norm, except the ones below."""

EPS_FINE = 1e-6
"""epsilon of the norms around a recurrent backbone and of qk-norm."""


def qk_layer_norm(x: Tensor) -> Tensor:
    """Normalise queries or keys over the last axis, without scale or shift; keeps the scores bounded."""
    return functional.layer_norm(x, x.shape[-1:], eps=EPS_FINE)
