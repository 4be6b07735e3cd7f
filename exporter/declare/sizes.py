"""Sizes of output axes as expressions of input axes: `past + 1`, `(seq + 1) // 2`, `batch * seq`.

An expression holds names, whole numbers, `+ - * // %`, `max`, `min` and parentheses, with Python's precedence and its
division, which rounds down. The readers of a bundle in C++ and JavaScript evaluate the same.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

_TORCH = {"PythonMod": ast.Mod, "Mod": ast.Mod, "FloorDiv": ast.FloorDiv, "CleanDiv": ast.FloorDiv}
_CHOICES = {"Max": "max", "Min": "min", "max": "max", "min": "min"}


def normal(text: str) -> str:
    """The expression in one spelling, from ours or from torch's (`PythonMod(-seq, 4)`); ValueError for any other."""
    return ast.unparse(_ordered(_checked(_parsed(text))))


def size(text: str, sizes: Mapping[str, int]) -> int:
    """The value of an expression; KeyError for an axis that has no size."""
    return int(_value(_parsed(text), lambda name: sizes[name]))


def names(text: str) -> set[str]:
    """The axes that an expression depends on."""
    nodes = list(ast.walk(_parsed(text)))
    functions = {node.func for node in nodes if isinstance(node, ast.Call)}
    return {node.id for node in nodes if isinstance(node, ast.Name) and node not in functions}


def reach(text: str, ranges: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Least and largest value that an expression can have, or a little beyond, where axes lie in `ranges`."""
    found = _value(_parsed(text), lambda name: Interval(*ranges[name]))
    return (found, found) if isinstance(found, int) else (found.low, found.high)


@dataclass(frozen=True)
class Interval:
    """All whole numbers from `low` to `high`, under the operators of the expressions."""

    low: int
    high: int

    def __add__(self, other: Any) -> Interval:
        other = _wide(other)
        return Interval(self.low + other.low, self.high + other.high)

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low)

    def __sub__(self, other: Any) -> Interval:
        return self + -_wide(other)

    def __mul__(self, other: Any) -> Interval:
        other = _wide(other)
        products = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return Interval(min(products), max(products))

    def __floordiv__(self, other: Any) -> Interval:
        other = _wide(other)
        quotients = [a // b for a in (self.low, self.high) for b in (other.low, other.high) if b]
        return Interval(min(quotients), max(quotients))

    def __mod__(self, other: Any) -> Interval:
        return Interval(0, max(_wide(other).high - 1, 0))

    def __radd__(self, other: int) -> Interval:
        return _wide(other) + self

    def __rsub__(self, other: int) -> Interval:
        return _wide(other) - self

    def __rmul__(self, other: int) -> Interval:
        return _wide(other) * self

    def __rfloordiv__(self, other: int) -> Interval:
        return _wide(other) // self


def _wide(value: Any) -> Interval:
    return value if isinstance(value, Interval) else Interval(value, value)


def _parsed(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{text!r} is no expression of axes") from error


def _checked(node: ast.expr) -> ast.expr:
    """The node with torch's functions as operators; ValueError for what an expression cannot hold."""
    match node:
        case ast.Constant(value=int()) | ast.Name():
            return node
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return ast.UnaryOp(ast.USub(), _checked(operand))
        case ast.BinOp(
            left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv() | ast.Mod(), right=right
        ):
            return ast.BinOp(_checked(left), node.op, _checked(right))
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if name in _TORCH:
            return ast.BinOp(_checked(left), _TORCH[name](), _checked(right))
        case ast.Call(func=ast.Name(id=name), args=[_, _, *_] as args, keywords=[]) if name in _CHOICES:
            return ast.Call(ast.Name(_CHOICES[name]), [_checked(arg) for arg in args], [])
    raise ValueError(f"{ast.unparse(node)} is no expression of axes")


def _ordered(node: ast.expr) -> ast.expr:
    """Sums and products in one order, whatever torch's is: numbers last in a sum, first in a product."""
    for field, value in ast.iter_fields(node):
        if isinstance(value, ast.expr):
            setattr(node, field, _ordered(value))
        elif isinstance(value, list):
            setattr(node, field, [_ordered(part) for part in value])
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add | ast.Mult):
        return node
    parts = _parts(node, type(node.op))
    last = isinstance(node.op, ast.Add)
    parts.sort(key=lambda part: (isinstance(part, ast.Constant) == last, ast.unparse(part)))
    return reduce(lambda left, right: ast.BinOp(left, node.op, right), parts)


def _parts(node: ast.expr, op: type[ast.operator]) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, op):
        return [*_parts(node.left, op), *_parts(node.right, op)]
    return [node]


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
}


def _value(node: ast.expr, of: Callable[[str], Any]) -> Any:
    """The value over whole numbers or intervals."""
    match node:
        case ast.Constant(value=int() as number):
            return number
        case ast.Name(id=name):
            return of(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, of)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, of), _value(right, of))
        case ast.Call(func=ast.Name(id="max" | "min" as name), args=args):
            return reduce(_larger if name == "max" else _smaller, (_value(arg, of) for arg in args))
    raise ValueError(f"{ast.unparse(node)} is no expression of axes")


def _larger(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    a, b = _wide(a), _wide(b)
    return Interval(max(a.low, b.low), max(a.high, b.high))


def _smaller(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    a, b = _wide(a), _wide(b)
    return Interval(min(a.low, b.low), min(a.high, b.high))
