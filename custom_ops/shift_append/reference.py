"""The frozen truth of ShiftAppend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def reference(
    inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]
) -> npt.NDArray[np.float64]:
    """Cache `[batch, N, ...]` and Newest `[batch, 1, ...]` -> `[batch, N, ...]` float64. There are no attributes."""
    cache, newest = inputs
    if cache is None or newest is None or newest.shape != (*cache.shape[:1], 1, *cache.shape[2:]):
        raise ValueError("ShiftAppend: Cache must be [batch, N, ...] and Newest [batch, 1, ...].")
    return np.concatenate([cache[:, 1:], newest], axis=1).astype(np.float64)
