"""Frames of a recorded stream."""

from __future__ import annotations

import numpy as np

from temport.exporter.declare.declaration import TensorSpec


def frame_of(spec: TensorSpec, stream: np.ndarray, t: int) -> np.ndarray:
    """Frame t of `[batch, frames, ...]`, as a step takes it: an axis of size 1 behind the batch stays."""
    return np.ascontiguousarray(stream[:, t : t + 1] if spec.shape[1:2] == (1,) else stream[:, t])
