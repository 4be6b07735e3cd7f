"""The frozen truth of FusedLSTM: the recurrence frame by frame, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def reference(
    inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]
) -> tuple[Array, Array, Array]:
    """X, W, R, then B, initial_h and initial_c or None, as the schema lays them out -> Y, Y_h, Y_c in float64."""
    if any(x is None for x in [*inputs, None, None, None][:3]):
        raise ValueError("FusedLSTM: X, W and R must be given.")
    given = [None if x is None else x.astype(np.float64) for x in [*inputs, None, None, None][:6]]
    x, w, r, b, hidden, cell = given
    assert x is not None and w is not None and r is not None
    H = int(attributes["hidden_size"])
    if w.shape != (1, 4 * H, x.shape[2]) or r.shape != (1, 4 * H, H):
        raise ValueError(
            f"FusedLSTM: with hidden_size {H}, W must be [1, {4 * H}, {x.shape[2]}], R [1, {4 * H}, {H}]."
        )
    zero = np.zeros((x.shape[1], H))
    h = zero if hidden is None else hidden[0]
    c = zero if cell is None else cell[0]
    bias = 0.0 if b is None else b[0, : 4 * H] + b[0, 4 * H :]
    y = np.empty((x.shape[0], 1, x.shape[1], H))
    for t, frame in enumerate(x):
        i, o, f, g = np.split(frame @ w[0].T + h @ r[0].T + bias, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = y[t, 0] = _sigmoid(o) * np.tanh(c)
    return y, h[None], c[None]


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # no overflow
