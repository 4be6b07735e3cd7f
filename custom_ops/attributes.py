"""Checks of op attributes: a bad value is one sentence naming op, attribute and what would be right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any


def integer(op: str, name: str, value: object, minimum: int) -> int:
    """`value` as an int of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{op}: {name} is {value!r}; it must be an integer of at least {minimum}.")
    return value


def flag(op: str, name: str, value: object) -> bool:
    """`value` as a bool; ONNX writes 0 and 1."""
    if value not in (0, 1):
        raise ValueError(f"{op}: {name} is {value!r}; it must be 0 or 1.")
    return bool(value)


def number(op: str, name: str, value: object, *, minimum: float = -math.inf) -> float:
    """`value` as a finite float of at least `minimum`."""
    found = None if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)
    if found is not None and math.isfinite(found) and found >= minimum:
        return found
    bound = "" if minimum == -math.inf else f" of at least {minimum:g}"
    raise ValueError(f"{op}: {name} is {value!r}; it must be a finite number{bound}.")


def choice(op: str, name: str, value: object, allowed: tuple[str, ...]) -> str:
    """`value` as one of the words in `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{op}: {name} is {value!r}; it must be one of {', '.join(allowed)}.")
    return value


def known(op: str, attributes: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A copy of `attributes`, all of whose names are in `names`."""
    names = tuple(names)
    for name in attributes:
        if name not in names:
            raise ValueError(f"{op}: unknown attribute {name!r}; the attributes are {', '.join(names)}.")
    return dict(attributes)
