"""Sizes of axes in C++: numbers, and products with expressions over the open axes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

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
    number, factors = 1, []
    for factor in _factors(ast.parse(text, mode="eval").body):
        if isinstance(factor, ast.Constant):
            number *= int(str(factor.value))
        else:
            factors.append(_code(factor, ranges))
    return Size(number, tuple(sorted(factors)), most)


def _factors(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return [*_factors(node.left), *_factors(node.right)]
    return [node]


def _code(node: ast.expr, ranges: Mapping[str, tuple[int, int]]) -> str:
    """An expression of exporter/declare/sizes.py in C++, of which any product may be made."""
    match node:
        case ast.Constant(value=value):
            return str(value)
        case ast.Name(id=name):
            return axis_code(name)
        case ast.UnaryOp(operand=operand):
            return f"(-{_code(operand, ranges)})"
        case ast.Call(func=ast.Name(id=name), args=args):
            function = {"max": "most", "min": "least"}[name]
            return reduce(lambda a, b: f"{function}({a}, {b})", (_code(arg, ranges) for arg in args))
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _code(left, ranges), _code(right, ranges)
            if isinstance(op, ast.FloorDiv | ast.Mod) and sizes.reach(ast.unparse(left), ranges)[0] < 0:
                # C++ divides towards 0
                return f"floor_{'quotient' if isinstance(op, ast.FloorDiv) else 'remainder'}({a}, {b})"
            return f"({a} {_SIGNS[type(op)]} {b})"
    raise ValueError(ast.unparse(node))


_SIGNS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "/",
    ast.Mod: "%",
}
