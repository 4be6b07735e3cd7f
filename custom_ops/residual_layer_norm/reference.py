"""The frozen truth of ResidualLayerNorm, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def reference(
    inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]
) -> npt.NDArray[np.float64]:
    """X `[..., width]`, Scale `[width]`, B `[width]`, then R of X's shape or None -> Y of X's shape, float64.

    ValueError for shapes that do not fit.
    """
    x, scale, b, r = (None if v is None else v.astype(np.float64) for v in [*inputs, None][:4])
    if x is None or scale is None or b is None or x.ndim < 1:
        raise ValueError("ResidualLayerNorm: X must be [..., width], Scale and B [width].")
    for name, value, shape in (("Scale", scale, x.shape[-1:]), ("B", b, x.shape[-1:]), ("R", r, x.shape)):
        if value is not None and value.shape != shape:
            raise ValueError(
                f"ResidualLayerNorm: {name} has shape {list(value.shape)}; it must be {list(shape)}."
            )
    x = x if r is None else x + r
    if x.size == 0:
        return x
    difference = x - x.mean(axis=-1, keepdims=True) if attributes.get("centred", 1) else x
    variance = (difference**2).mean(axis=-1, keepdims=True)
    y: npt.NDArray[np.float64] = difference / np.sqrt(variance + attributes.get("epsilon", 1e-5)) * scale + b
    return y
