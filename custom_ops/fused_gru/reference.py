"""The frozen truth of FusedGRU: the recurrence frame by frame, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.custom_ops.fused_gru.schema import GATES, SCHEMA
from temport.custom_ops.recurrent_layer import read_inputs, sigmoid

Array = npt.NDArray[np.float64]


def reference(
    inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]
) -> tuple[Array, Array]:
    """X, W, R, then B and initial_h or None, as the schema lays them out -> Y, Y_h in float64."""
    H = int(attributes["hidden_size"])
    x, w, r, b, hidden = read_inputs(SCHEMA, GATES, inputs, H)
    assert x is not None and w is not None and r is not None
    h = np.zeros((x.shape[1], H)) if hidden is None else hidden[0]
    of_x, of_h = (0.0, 0.0) if b is None else (b[0, : GATES * H], b[0, GATES * H :])
    y = np.empty((x.shape[0], 1, x.shape[1], H))
    for t, frame in enumerate(x):
        z, reset, new = np.split(frame @ w[0].T + of_x, GATES, axis=1)
        recurrent_z, recurrent_reset, recurrent_new = np.split(h @ r[0].T + of_h, GATES, axis=1)
        z, reset = sigmoid(z + recurrent_z), sigmoid(reset + recurrent_reset)
        n = np.tanh(new + reset * recurrent_new)
        h = y[t, 0] = (1.0 - z) * n + z * h
    return y, h[None]
