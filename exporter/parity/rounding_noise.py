"""What rounding leaves open, measured: torch's own errors over a case and copies of it that hardly differ.

The largest error alone says little in a half type: its bound is percents of the scale, and a window one frame short
stays below. The same errors as statistics leave far less room: their root mean square, their size in each row and at
each element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

RMS_FACTOR, RMS_OF_FEW, RMS_ULPS = 2, 2, 1
ROW_FACTOR, ROW_ULPS = 3, 4
ELEMENT_FACTOR, ELEMENT_ULPS = 6, 2
UNSETTLED = 2
PEAK = 4
"""Normal errors reach about PEAK times their root mean square; where most outputs are 0, the others reach far more."""
RULES = (
    f"rms e <= ({RMS_FACTOR} + {RMS_OF_FEW}/sqrt(n)) r + eps rms y; "
    f"in each row max|e| <= {ROW_FACTOR} sqrt(max E^2 + 4 s^2) + {ROW_ULPS} eps max|y|; "
    f"at each element |e| <= {ELEMENT_FACTOR} sqrt(mean E^2 + s^2) + {ELEMENT_ULPS} eps |y|"
)
"""e: a runtime's error; E: torch's own in the model's type, over the case and its copies; r: the largest rms E of them;
s: the larger of r and a quarter of the largest E; y: the oracle, of n elements. A few elements say little about the
spread of errors, and copies of inputs that hardly matter round as the case does: hence the share of 1/sqrt(n), and of
s in each row and at each element."""


@dataclass(frozen=True)
class Limits:
    """How large errors may be, besides the largest of all.

    rms       of the root mean square of the errors
    rows      of the largest error in each row, shape of the output without its last axis, along which a row lies
    elements  of the error at each element, shape of the output
    """

    rms: float
    rows: Array
    elements: Array


class Noise:
    """Errors of torch, gathered copy by copy. Elements where an error is not finite allow everything."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._sizes: list[float] = []
        self._peaks = np.zeros(shape)
        self._squares = np.zeros(shape)

    def add(self, error: Array) -> None:
        """The errors (float64) of one more copy."""
        size = np.abs(error)
        self._sizes.append(rms(size))
        self._peaks = np.maximum(self._peaks, size)
        self._squares += size**2

    @property
    def settled(self) -> bool:
        """Whether the copies agree on how large errors are: where a near tie decides, few of them are far larger."""
        return not max(self._sizes) > UNSETTLED * float(np.median(self._sizes))

    def limits(self, oracle: Array, eps: float) -> Limits:
        """The rules as numbers, for an oracle of the errors' shape."""
        size, largest = np.abs(oracle), max(self._sizes)
        spread = max(largest, float(self._peaks.max(initial=0.0)) / PEAK)
        noise = np.sqrt(self._squares / len(self._sizes) + spread**2)
        of_few = RMS_OF_FEW / np.sqrt(max(oracle.size, 1))
        return Limits(
            (RMS_FACTOR + of_few) * largest + RMS_ULPS * eps * rms(size),
            ROW_FACTOR * np.hypot(in_rows(self._peaks), 2 * spread) + ROW_ULPS * eps * in_rows(size),
            ELEMENT_FACTOR * noise + ELEMENT_ULPS * eps * size,
        )


def within(error: Array, allowed: float, limits: Limits | None) -> Array:
    """At which elements an error (absolute, float64) keeps every rule that names a place."""
    found = error <= allowed
    if limits is not None:
        found &= (error <= limits.elements) & (error <= limits.rows[..., None])
    return np.asarray(found)


def in_rows(values: Array) -> Array:
    """The largest value of each row."""
    return np.asarray(values.max(axis=-1, initial=0.0)) if values.ndim else values


def rms(values: Array) -> float:
    """Root of the mean square, without overflow and underflow of the squares; 0 for an empty array."""
    peak = float(np.abs(values).max(initial=0.0))
    if not 0 < peak < np.inf:
        return peak
    return peak * float(np.sqrt(np.mean((values / peak) ** 2)))
