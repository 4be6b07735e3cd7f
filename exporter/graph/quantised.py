"""Weights in fewer bits, as numbers that float32 holds exactly: made, and found again in what passes made of them.

Quantisation is symmetric. int8 and fp8 (E4M3, without infinity) have one scale per output, int4 one per block of 64
inputs of an output; float16 is the rounded number itself. A scale has few significant bits, so that a number of the
type times its scale is a float32 without rounding: the numbers of the file are those of the source in every runtime,
and a weight says what it is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BLOCKS = (64, 32, 16)
"""Inputs that share a scale in int4: the first of these by which there can be divided."""
FLOAT32 = "float32"
INT8, FP8 = "int8", "fp8"
WIDER = {FP8: "fp16", "int4": INT8, INT8: "fp16", "fp16": FLOAT32}
"""Each type of weights, and the next one with more bits."""
SMALLEST = 1024
"""Numbers that a weight must have: with fewer, nothing is gained."""
FP8_NUMBERS = np.dtype(ml_dtypes.float8_e4m3fn)
INT4_NUMBERS = np.dtype(ml_dtypes.int4)
_LARGEST = {INT8: 127, "int4": 7, FP8: 448}
_POWER = {INT8: 64, "int4": 4, FP8: 256}
"""The largest power of two: with it as the largest number of a block, the identity is held as it is."""
_SCALE_BITS = {INT8: 16, FP8: 16, "int4": 11}
"""Significant ones. Blocks have many scales, and a float16 holds such a one down to 2^-14, fewer bits below."""
_TYPES = {INT8: np.dtype(np.int8), "int4": INT4_NUMBERS, FP8: FP8_NUMBERS}
_FP8_VALUES = np.arange(0x7E, 0, -1, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)
"""All above 0, the largest first."""
_CLIPS = np.linspace(1.0, 0.6, 9)
"""Shares of the largest number that are tried as the largest representable one."""
_LEAST_SCALE = 2.0**-100
"""A block whose numbers are all smaller than that is 0."""


@dataclass(frozen=True)
class Quantised:
    """What a weight is made of, in the form that `DequantizeLinear` of opset 21 takes.

    values  int8, int4, float8_e4m3fn or float16, in the weight's shape
    scale   float32: `[n]`, one for each entry of `axis`, or as many axes as the weight has, `block` numbers along
            `axis` for each. None for float16
    """

    values: Array
    scale: Array | None = None
    axis: int = 0
    block: int = 0

    def numbers(self) -> Array:
        """The weight, float32."""
        wide = self.values.astype(np.float32)
        if self.scale is None:
            return wide
        if self.block:
            scale = np.repeat(self.scale, self.block, self.axis)
            return np.asarray(wide * scale.take(range(wide.shape[self.axis]), self.axis))
        return np.asarray(wide * self.scale.reshape([-1 if a == self.axis else 1 for a in range(wide.ndim)]))


def fitting(inputs: int, kind: str) -> str:
    """The type that a weight of so many inputs gets where `kind` is wanted: int4 takes whole blocks."""
    return "int8" if kind == "int4" and inputs % BLOCKS[-1] else kind


def kinds_from(weight: Array, axis: int, kind: str) -> Iterator[str]:
    """What the weight is stored in where `kind` is wanted, and the types with more bits that hold it, float32 last.

    axis  of its inputs
    """
    kind = fitting(weight.shape[axis], kind)
    while kind != FLOAT32:
        yield kind
        kind = WIDER[kind]
        if kind == "fp16" and not np.isfinite(_half(weight)).all():
            break
    yield FLOAT32


def quantised(weight: Array, axis: int, kind: str) -> Array:
    """The weight in a type of fewer bits, as float32.

    weight  finite, any shape
    axis    of its inputs, over which a layer sums

    Scales are chosen for the least squared error, so the largest numbers may be clipped. ValueError for numbers that
    float16 does not hold.
    """
    if kind == FLOAT32:
        return weight.astype(np.float32)
    if kind == "fp16":
        rounded = _half(weight).astype(np.float32)
        if not np.isfinite(rounded).all():
            raise ValueError(f"it reaches {np.abs(weight).max():.3g}, which float16 cannot hold")
        return rounded
    kind, largest = fitting(weight.shape[axis], kind), _LARGEST[fitting(weight.shape[axis], kind)]
    blocks = _blocks(weight.astype(np.float64), axis, _block_sizes(weight.shape[axis], kind)[0])
    peak = np.abs(blocks).max(-1, keepdims=True)
    best, least = np.zeros_like(blocks), np.full_like(peak, np.inf)
    for count in (*(largest / _CLIPS), _POWER[kind]):
        scale = short(peak / count, _SCALE_BITS[kind])
        numbers = nearest(blocks / np.where(scale, scale, 1), kind, -largest) * scale
        error = np.square(blocks - numbers).sum(-1, keepdims=True)
        best, least = np.where(error < least, numbers, best), np.minimum(error, least)
    return _whole(best, weight.shape, axis).astype(np.float32)


def nearest(numbers: Array, kind: str, least: float = -128) -> Array:
    """The numbers of a type that are next to these, float64; beyond its ends the end. NaN stays.

    least  of an integer type, whose weights leave out the one that has no opposite
    """
    if kind == FP8:
        held = np.clip(numbers, -_LARGEST[FP8], _LARGEST[FP8]).astype(_TYPES[FP8])
        return np.asarray(held.astype(np.float64))
    return np.clip(np.rint(numbers), least, _LARGEST[kind])


def found_again(weight: Array, axes: Sequence[int], kind: str) -> Quantised | None:
    """What a float32 weight is made of, exactly, in a type of no more bits than needed; None where in no type.

    axes  along which its blocks may lie: that of its inputs, or of its outputs where it was turned since
    kind  the type that was wanted; wider ones are tried too
    """
    while kind != FLOAT32:
        if kind == "fp16":
            half = _half(weight)
            return Quantised(half) if np.array_equal(half.astype(np.float32), weight) else None
        for axis in axes:  # a pass may have put together what has smaller blocks
            for block in _block_sizes(weight.shape[axis], kind):
                if found := _of_scales(weight, axis, kind, block):
                    return found
        kind = WIDER[kind]
    return None


def _of_scales(weight: Array, axis: int, kind: str, block: int) -> Quantised | None:
    largest, blocks = _LARGEST[kind], _blocks(weight.astype(np.float64), axis, block)
    peak = np.abs(blocks).max(-1, keepdims=True)
    scale = np.ones_like(peak)
    left = peak[..., 0] > 0
    first = largest, _POWER[kind]
    others = _FP8_VALUES if kind == FP8 else range(largest, 0, -1)
    for count in (*first, *others):  # of scales that the largest number has; fewer where rows were cut off
        tried = np.where(left[..., None], peak / count, scale)
        few = blocks[..., :: max(1, blocks.shape[-1] // 16)]
        right = left & (tried.astype(np.float32) == tried)[..., 0] & _are_held(few, tried, kind)
        if right.any():
            right &= _are_held(blocks, tried, kind)
        scale = np.where(right[..., None], tried, scale)
        left &= ~right
        if not left.any():
            break
        if count == first[-1] and left.all():  # whatever it is, nobody quantised it
            return None
    if left.any():
        return None
    values = _whole(nearest(blocks / scale, kind), weight.shape, axis).astype(_TYPES[kind])
    shape = list(weight.shape)
    shape[axis] = blocks.shape[-2]
    return _as_onnx(values, np.moveaxis(scale[..., 0], -1, axis).reshape(shape).astype(np.float32), axis)


def _are_held(blocks: Array, scale: Array, kind: str) -> npt.NDArray[np.bool_]:
    """Per block whether its numbers are those of the type times the scale, to the last bit."""
    return np.asarray((nearest(blocks / scale, kind) * scale == blocks).all(-1))


def _as_onnx(values: Array, scale: Array, axis: int) -> Quantised:
    """Of blocks along `axis`; where they are as long as it and one other axis is left, one scale per entry of that."""
    others = [a for a in range(values.ndim) if a != axis and values.shape[a] > 1]
    if scale.shape[axis] == 1 and len(others) < 2:
        other = next(iter(others or [a for a in range(values.ndim) if a != axis]))
        return Quantised(values, scale.reshape(-1), other)
    return Quantised(values, scale, axis, values.shape[axis] // scale.shape[axis])


def _block_sizes(inputs: int, kind: str) -> list[int]:
    """How many inputs may share a scale, the most first."""
    return [block for block in BLOCKS if inputs % block == 0] if kind == "int4" else [inputs]


def _blocks(weight: Array, axis: int, block: int) -> Array:
    """`[others..., blocks, numbers of a block]`"""
    moved = np.moveaxis(weight, axis, -1)
    size = moved.shape[-1]
    return moved.reshape(*moved.shape[:-1], size // block, block)


def _whole(blocks: Array, shape: tuple[int, ...], axis: int) -> Array:
    others = [size for place, size in enumerate(shape) if place != axis % len(shape)]
    return np.moveaxis(blocks.reshape(*others, shape[axis]), -1, axis)


def short(scale: Array, digits: int = 16) -> Array:
    """Rounded to so many significant bits; 0 for what is next to nothing."""
    mantissa, exponent = np.frexp(scale)
    rounded = np.ldexp(np.rint(np.ldexp(mantissa, digits)), exponent - digits)
    return np.where(rounded < _LEAST_SCALE, 0.0, rounded)


def _half(weight: Array) -> Array:
    """Rounded to float16, infinite where it does not reach so far."""
    with np.errstate(over="ignore"):
        return weight.astype(np.float16)
