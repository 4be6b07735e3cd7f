"""The frozen truth of SkinnyGemm, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def reference(
    inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]
) -> npt.NDArray[np.float64]:
    """X `[M, K]`, W `[N, K]` and B `[N]` -> X W^T + B `[M, N]` float64. There are no attributes."""
    x, w, b = (None if v is None else v.astype(np.float64) for v in inputs)
    if x is None or w is None or b is None or x.ndim != 2 or w.shape != (b.size, x.shape[1]):
        raise ValueError("SkinnyGemm: X must be [M, K], W [N, K] and B [N].")
    return x @ w.T + b
