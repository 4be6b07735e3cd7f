"""Weights of an op in fewer bits: float16 beside float32 activations, or int8 and int4 with scales.

Scales are as `DequantizeLinear` of ai.onnx takes them: `[n]`, one for each output, or with as many axes as the weight,
one for each of equal blocks along one axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import helper

from temport.custom_ops import schema as shared

TYPES = [*shared.FLOAT_TYPES, "tensor(int8)", "tensor(int4)"]
INTEGERS = ("int8", "int4")
DOC = "float16, or int8 and int4 with scales; our kernel sums in float32."
SCALE_DOC = "[n], one per output, or one per block along one axis; only of integers"


@dataclass(frozen=True)
class Stored:
    """How a body makes numbers of a weight: by a cast where there is no `axis`."""

    axis: int | None = None
    block: int = 0


def stored(
    weight: ir.Value | None, scale: ir.Value | None, like: ir.Value | None, outputs: int
) -> Stored | None:
    """What of a node's weight its body depends on; None where the weight has the type of `like`, the activations.

    outputs  the axis of the weight's outputs

    ValueError where scales do not fit.
    """
    if weight is None or weight.dtype is None or like is None or weight.dtype == like.dtype:
        return None
    if scale is None:
        return Stored()
    of_weight, of_scale = ([size for size in v.shape or () if isinstance(size, int)] for v in (weight, scale))
    return Stored(*scaled_axis(of_weight, of_scale, outputs))


def scaled_axis(weight: Sequence[int], scale: Sequence[int], outputs: int) -> tuple[int, int]:
    """The axis along which scales lie, and how many entries of it share one; 0: one scale for each entry, whatever
    the other axes. ValueError where they do not fit.
    """
    outputs %= max(len(weight), 1)
    wrong = ValueError(f"scales {list(scale)} do not fit a weight {list(weight)}")
    if len(scale) == 1 and len(weight) > 1:
        if scale[0] != weight[outputs]:
            raise wrong
        return outputs, 0
    if len(scale) != len(weight):
        raise wrong
    axis = next((i for i, (n, s) in enumerate(zip(weight, scale, strict=True)) if n != s), len(weight) - 1)
    parts = scale[axis]
    if parts < 1 or weight[axis] % parts or list(weight[axis + 1 :]) != list(scale[axis + 1 :]):
        raise wrong
    return axis, weight[axis] // parts


def numbers(
    weight: npt.NDArray[Any], scale: npt.NDArray[Any] | None, outputs: int
) -> npt.NDArray[np.float64]:
    """The weight in float64, itself where it is that already.

    ValueError where scales do not fit, are missing, or are of floats.
    """
    if (scale is None) == (weight.dtype.name in INTEGERS):
        raise ValueError("integers need scales, and floats have none")
    if scale is None:
        return weight.astype(np.float64, copy=False)
    axis, block = scaled_axis(weight.shape, scale.shape, outputs)
    if block:
        spread = np.repeat(scale, block, axis).take(range(weight.shape[axis]), axis)
    else:
        spread = scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    return np.asarray(weight.astype(np.float64) * spread.astype(np.float64))


def wide_nodes(at: Stored | None, weight: str, scale: str, like: str) -> tuple[list[onnx.NodeProto], str]:
    """The nodes of a body that make numbers of a weight, and the name of what they give."""
    if at is None:
        return [], weight
    result = f"{weight}_numbers"
    if at.axis is None:
        return [helper.make_node("CastLike", [weight, like], [result])], result
    attributes: dict[str, Any] = {"axis": at.axis} | ({"block_size": at.block} if at.block else {})
    return [helper.make_node("DequantizeLinear", [weight, scale], [result], **attributes)], result
