"""JSON of unknown origin: what C++ and JavaScript would read otherwise, or not at all, is refused here too."""

from __future__ import annotations

import json
import math
from typing import Any

MOST_VALUES, DEEPEST = 100_000, 32


def parse(content: bytes) -> Any:
    """The value that `content` spells; ValueError, in a few words, where it is refused.

    Refused: what is not UTF-8, a byte order mark, syntax errors, a key that an object repeats, half a surrogate pair,
    numbers beyond float64, more than 32 arrays and objects inside one another, and more than 100000 keys and values.
    """
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_float,
            parse_int=_int,
            parse_constant=_constant,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    _check(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it repeats a key")
    return found


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("it holds a number beyond float64")
    return value


def _int(text: str) -> int:
    _float(text)
    return int(text)


def _constant(text: str) -> None:
    raise ValueError(f"it is not JSON: {text}")


def _check(value: Any) -> None:
    """Depth, number and characters of everything in `value`."""
    count, pending = 0, [(value, 1)]
    while pending:
        item, depth = pending.pop()
        count += 1
        inner: list[Any] = []
        if isinstance(item, str):
            item.encode("utf-8")  # UnicodeEncodeError, which is a ValueError, for half a surrogate pair
        elif isinstance(item, dict):
            inner = [*item, *item.values()]
        elif isinstance(item, list):
            inner = item
        if count + len(inner) > MOST_VALUES:
            raise ValueError("it has too many values")
        if isinstance(item, (dict, list)) and depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        pending += ((one, depth + 1) for one in inner)
