"""The frozen truth of FusedLSTM: the recurrence frame by frame, in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.custom_ops.fused_lstm.schema import GATES, SCHEMA
from temport.custom_ops.recurrent_layer import read_inputs, sigmoid

Array = npt.NDArray[np.float64]


def reference(
    inputs: Sequence[npt.NDArray[Any] | None], attributes: Mapping[str, Any]
) -> tuple[Array, Array, Array]:
    """X, W, R, then B, initial_h and initial_c or None, as the schema lays them out -> Y, Y_h, Y_c in float64."""
    H = int(attributes["hidden_size"])
    x, w, r, b, hidden, cell = read_inputs(SCHEMA, GATES, inputs, H)
    assert x is not None and w is not None and r is not None
    zero = np.zeros((x.shape[1], H))
    h = zero if hidden is None else hidden[0]
    c = zero if cell is None else cell[0]
    bias = 0.0 if b is None else b[0, : GATES * H] + b[0, GATES * H :]
    y = np.empty((x.shape[0], 1, x.shape[1], H))
    for t, frame in enumerate(x):
        i, o, f, g = np.split(frame @ w[0].T + h @ r[0].T + bias, GATES, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = y[t, 0] = sigmoid(o) * np.tanh(c)
    return y, h[None], c[None]
