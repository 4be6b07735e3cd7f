"""The frozen truth of SkinnyGemm, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def reference(
    inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]
) -> npt.NDArray[np.float64]:
    """X `[M, K]`, W `[N, K]` and B `[N]` or None -> X W^T + B `[M, N]` float64. There are no attributes."""
    x, w, b = [*inputs, None][:3]
    if x is None or w is None or x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1]:
        raise ValueError("SkinnyGemm: X must be [M, K] and W [N, K].")
    y = x.astype(np.float64) @ w.astype(np.float64).T
    return y if b is None else y + b.astype(np.float64)
