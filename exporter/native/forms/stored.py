"""Weights as a file stores them: as kernels read them, or as the numbers that they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from temport.custom_ops.stored_weight import numbers
from temport.exporter.native.call import STORED, Call

Array = npt.NDArray[Any]


def stored(call: Call, place: int, scale_place: int, outputs: int) -> tuple[Array, Array | None]:
    """A weight of the node, and its scales, one per output; float32 without scales where no kernel reads it as it is.

    outputs  the axis of its outputs
    """
    weight = call.constant(place)
    scale = call.constant(scale_place) if call.has(scale_place) else None
    by_output = scale is not None and scale.ndim == 1
    if weight.dtype in STORED and (scale is None or by_output):
        return weight, scale
    return (weight if scale is None else numbers(weight, scale, outputs).astype(np.float32)), None
