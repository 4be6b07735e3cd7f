"""Which values an input takes: ranges of numbers, and what a mask means.

In the text of an input they stand in brackets behind its type: `ids:int64[0:200]`, `angle[-3.2:3.2]`,
`lengths:int64[1:seq+1]`, `padding:bool[prefix,ignore]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.declare.sizes import normal, size
from temport.exporter.errors import UserError

Array = npt.NDArray[Any]

WHOLE = {"int8": (-128, 128), "uint8": (0, 256), "int16": (-(2**15), 2**15), "uint16": (0, 2**16)}
"""Integers of few values take all of them unless told otherwise; a user has to tell those of `int32` and `int64`, and
states of ours begin at 0."""
INTEGERS = (*WHOLE, "int32", "int64")
MEANINGS = ("prefix", "ignore")


@dataclass(frozen=True)
class Values:
    """What may stand in an input.

    low, high  numbers, `low <= x < high` for integers and `low <= x <= high` for others; a bound may be an expression
               of axes, such as `seq + 1`. Empty: not limited
    prefix     a mask: each row, its last axis, holds first the entries that count, at least one, and then the others
    ignore     a mask: True marks what does not count
    """

    low: str = ""
    high: str = ""
    prefix: bool = False
    ignore: bool = False

    @classmethod
    def parse(cls, text: str, dtype: str) -> Values:
        """From what stands in the brackets."""
        if dtype == "bool":
            words = re.split(r"[,|]", text)
            if unknown := [word for word in words if word not in MEANINGS]:
                raise UserError(
                    f"a mask is {' or '.join(MEANINGS)} (True marks what is ignored), or both, not {unknown[0]!r}"
                )
            return cls(prefix="prefix" in words, ignore="ignore" in words)
        low, colon, high = text.partition(":")
        try:
            if not colon:
                raise ValueError("no colon")
            return cls(_bound(low, dtype), _bound(high, dtype))
        except ValueError as error:
            raise UserError(
                f"[{text}] is no range of {dtype}; give low:high, as in [0:200] for 0 to 199"
                if dtype in INTEGERS
                else f"[{text}] is no range of {dtype}; give low:high, as in [-1:1]"
            ) from error

    def limits(self, dtype: str, sizes: Mapping[str, int]) -> tuple[float, float]:
        """Least and largest value, both included."""
        if dtype in INTEGERS:
            low, high = (
                (size(b, sizes) for b in (self.low, self.high)) if self.high else WHOLE.get(dtype, (0, 1))
            )
            return low, high - 1
        return float(self.low or -np.inf), float(self.high or np.inf)

    def __str__(self) -> str:
        words = [word for word, given in (("prefix", self.prefix), ("ignore", self.ignore)) if given]
        return ",".join(words) or f"{self.low}:{self.high}"


def _bound(text: str, dtype: str) -> str:
    return normal(text) if dtype in INTEGERS else repr(float(text))


def check_told(name: str, dtype: str, values: Values | None) -> None:
    """UserError for an input whose values nobody can guess, or whose range is empty."""
    if dtype in ("int32", "int64") and values is None:
        raise UserError(
            f"input {name} is {dtype}, and which values it takes was not said; give their range, "
            f"as in {name}:{dtype}[0:200]=batch,seq for 0 to 199"
        )


def integers(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> Array:
    """Whole numbers from `low` to `high`, both among them where there is room."""
    drawn = rng.integers(int(low), int(high) + 1, shape)
    flat = drawn.reshape(-1)
    if flat.size > 1:
        flat[0], flat[-1] = low, high
    return drawn


def mask(rng: np.random.Generator, shape: tuple[int, ...], kind: str, values: Values) -> Array:
    """A mask of a `kind`: `random` keeps two of three, `all` everything, `empty` nothing in the first batch entry.

    Where what counts is a prefix, `random` keeps a part of each row, and `empty` the first entry of each alone.
    """
    if kind == "all":
        counts = np.ones(shape, bool)
    elif values.prefix and shape:
        longest = 1 if kind == "empty" else max(shape[-1], 1)
        lengths = rng.integers(1, longest + 1, (*shape[:-1], 1))
        counts = np.arange(shape[-1]) < lengths
    else:
        counts = rng.random(shape) < 2 / 3
        if kind == "empty" and shape:
            counts[0] = False
    return ~counts if values.ignore else counts
