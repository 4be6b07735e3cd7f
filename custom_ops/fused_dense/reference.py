"""The frozen truth of FusedDense, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from temport.custom_ops.fused_dense.schema import ACTIVATIONS, OUTPUTS
from temport.custom_ops.stored_weight import numbers

Array = npt.NDArray[np.float64]


def reference(inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]) -> Array:
    """X, W and B, then M, R, W_scale and X_scale or None, as the schema lays them out -> Y `[..., G*N]` float64.

    ValueError for an activation that there is not, no group at all, or shapes that do not fit.
    """
    x, stored, b, m, r, scale, x_scale = [*inputs, *[None] * 6][:7]
    w = None if stored is None else numbers(stored, scale, OUTPUTS)
    x, b, m, r = (None if v is None else v.astype(np.float64) for v in (x, b, m, r))
    if x_scale is not None and x is not None:
        x = _rounded(x, x_scale)
    activation, groups = attributes.get("activation", "none"), int(attributes.get("groups", 1))
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"FusedDense: activation is {activation!r}; it must be one of {', '.join(ACTIVATIONS)}."
        )
    if groups < 1:
        raise ValueError(f"FusedDense: groups is {groups}; it must be at least 1.")
    if x is None or w is None or b is None or x.ndim < 1 or w.ndim != (2 if groups == 1 else 3):
        raise ValueError("FusedDense: X must be [..., G*K], W [K, N] of one group or [G, K, N], B [G*N].")
    if groups > 1 and x.ndim != 2:
        raise ValueError(f"FusedDense: X has {x.ndim} axes; with several groups it must have 2.")
    w = w if w.ndim == 3 else w[None]
    leading, (_, K, N) = x.shape[:-1], w.shape
    expected = {"W": (groups, K, N), "X": (*leading, groups * K), "B": (groups * N,)}
    expected |= {"M": (*leading, groups * N), "R": (*leading, groups * N)}
    for (name, shape), value in zip(expected.items(), (w, x, b, m, r), strict=True):
        if value is not None and value.shape != shape:
            raise ValueError(f"FusedDense: {name} has shape {list(value.shape)}; it must be {list(shape)}.")
    products = [x[..., g * K : (g + 1) * K] @ w[g] for g in range(groups)]
    y = _FUNCTIONS[activation](np.concatenate(products, axis=-1) + b)
    y = y if m is None else y * m
    return y if r is None else y + r


def _rounded(x: Array, scale: npt.NDArray[Any]) -> Array:
    if scale.shape != () or not 0 < float(scale) < np.inf:
        raise ValueError("FusedDense: X_scale must be one number above 0.")
    return np.asarray(np.clip(np.rint(x / float(scale)), -128, 127) * float(scale))


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # no overflow


def _gelu(x: Array) -> Array:
    # erfc keeps its digits in the tail where 1 + erf has none left; numpy has neither
    return 0.5 * x * torch.special.erfc(torch.from_numpy(-x / np.sqrt(2.0))).numpy()


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "gelu": _gelu,
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
}
