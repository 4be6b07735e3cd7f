"""The frozen truth of MovingAverage: its double sum, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def reference(
    inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]
) -> npt.NDArray[np.float64]:
    """X `[batch, T, C]`, Near and Far `[C, 1, 1, taps]` -> Y `[batch, T, C]` float64.

    ValueError for shapes that do not fit.
    """
    x, near, far = (None if v is None else v.astype(np.float64) for v in inputs)
    C, taps = int(attributes["channels"]), int(attributes["taps"])
    if C < 1 or taps < 1:
        raise ValueError(f"MovingAverage: channels is {C} and taps {taps}; both must be at least 1.")
    if x is None or x.ndim != 3 or x.shape[2] != C:
        raise ValueError(f"MovingAverage: X must be [batch, T, {C}].")
    if near is None or far is None or not near.shape == far.shape == (C, 1, 1, taps):
        raise ValueError(f"MovingAverage: Near and Far must be [{C}, 1, 1, {taps}].")
    y = np.zeros_like(x)
    for i in range(taps):
        for j in range(taps):
            age = i + taps * j
            if age < x.shape[1]:
                weight = near[:, 0, 0, taps - 1 - i] * far[:, 0, 0, taps - 1 - j]
                y[:, age:] += weight * x[:, : x.shape[1] - age]
    return y
