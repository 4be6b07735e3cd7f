"""Weights as a file stores them: as kernels read them, or as the numbers that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.custom_ops.stored_weight import numbers, scaled_axis
from temport.exporter.native.blob import EIGHT, int4_words
from temport.exporter.native.call import STORED, Call

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Stored:
    """A weight of a node as it goes into panels.

    weight  in the node's layout; of int4 with `int4_words` in the place of inputs
    scale   of int8, in that layout with one entry for all inputs
    block   inputs that share a scale, of int4
    """

    weight: Array
    scale: Array | None = None
    block: int = 0

    def inputs(self, axis: int) -> int:
        """How many there are along an axis of the weight that is theirs."""
        entries = int(self.weight.shape[axis])
        return entries // (1 + self.block // EIGHT) * self.block if self.block else entries


def stored(call: Call, place: int, scale_place: int, inputs: int, outputs: int) -> Stored:
    """A weight of the node; float32 where no kernel reads it as it is.

    inputs, outputs  the axes of these
    """
    weight = call.constant(place)
    scale = call.constant(scale_place) if call.has(scale_place) else None
    if scale is None:
        return Stored(weight)
    spread = _by_inputs(weight, scale, inputs, outputs)
    if spread is not None and weight.dtype in STORED and spread.shape[inputs] == 1:
        return Stored(weight, spread)
    if spread is not None and weight.dtype.name == "int4":
        block = weight.shape[inputs] // spread.shape[inputs]
        if block and block % EIGHT == 0:
            return Stored(int4_words(weight, spread, inputs), block=block)
    return Stored(numbers(weight, scale, outputs).astype(np.float32))


def _by_inputs(weight: Array, scale: Array, inputs: int, outputs: int) -> Array | None:
    """Scales in the weight's layout with blocks in the place of inputs; None where they lie along another axis."""
    axis, block = scaled_axis(weight.shape, scale.shape, outputs)
    if block:
        return scale if axis == inputs else None
    shape = [1 if i == inputs else size for i, size in enumerate(weight.shape)]
    return np.broadcast_to(scale.reshape([-1 if i == outputs else 1 for i in range(weight.ndim)]), shape)
