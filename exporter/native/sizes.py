"""Sizes of axes in C++: numbers, and products with expressions over the open axes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from temport.exporter.declare import sizes


@dataclass(frozen=True)
class Size:
    """`number` times the C++ expressions `factors`, which are sorted, and the largest value that it takes."""

    number: int
    factors: tuple[str, ...]
    most: int

    @property
    def fixed(self) -> bool:
        return not self.factors

    def __mul__(self, other: Size) -> Size:
        if 0 in (self.number, other.number):
            return ZERO
        factors = tuple(sorted((*self.factors, *other.factors)))
        return Size(self.number * other.number, factors, self.most * other.most)

    def __str__(self) -> str:
        parts = [*self.factors] if self.number == 1 and self.factors else [str(self.number), *self.factors]
        return " * ".join(parts)

    @property
    def code(self) -> str:
        """As an argument of a template over sizes: what is known when the engine is compiled has a type of its own."""
        return f"Fixed<{self.number}>{{}}" if self.fixed else str(self)


def fixed(value: int) -> Size:
    return Size(value, (), value)


ZERO, ONE = fixed(0), fixed(1)


def product(factors: Iterable[Size]) -> Size:
    """How many elements axes of these sizes have."""
    result = ONE
    for factor in factors:
        result = result * factor
    return result


def strides(shape: tuple[Size, ...]) -> tuple[Size, ...]:
    """Elements from one entry to the next, along each axis of a dense tensor."""
    return tuple(product(shape[axis + 1 :]) for axis in range(len(shape)))


def axis_code(name: str) -> str:
    """The variable in C++ that holds the size of an open axis: neither a word of the language nor another name."""
    return f"n_{name}"


def size_of(dim: int | ir.SymbolicDim, ranges: Mapping[str, tuple[int, int]]) -> Size | None:
    """The size of an axis where the open axes have `ranges`; None where it depends on anything else."""
    if isinstance(dim, int):
        return fixed(dim)
    if dim.value is None:
        return None
    try:
        text = sizes.normal(dim.value)
        most = sizes.reach(text, ranges)[1]
    except (ValueError, KeyError):
        return None
    for name in sizes.names(text):
        text = re.sub(rf"\b{re.escape(name)}\b", axis_code(name), text)
    text = text.replace("max(", "most(").replace("min(", "least(")
    number, factors = 1, []
    for factor in (
        text.split(" * ") if "(" not in text and "+" not in text and "-" not in text else [f"({text})"]
    ):
        if factor.isdecimal():
            number *= int(factor)
        else:
            factors.append(factor.replace("//", "/"))  # no size is negative, so C++ divides as Python does
    return Size(number, tuple(sorted(factors)), most)
