"""Structured arguments of `forward`, made of named tensors: `states.pi.0` is the first entry of the field `pi`."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from temport.exporter.errors import UserError, did_you_mean


def parts_of(value: Any) -> list[tuple[str | int, Any]] | None:
    """What a structure holds, under its keys, fields or places; None for what is no structure."""
    if isinstance(value, Mapping):
        return list(value.items())
    if not isinstance(value, type) and (names := fields_of(type(value))):
        return [(name, getattr(value, name)) for name in names]
    return list(enumerate(value)) if isinstance(value, (list, tuple)) else None


def fields_of(kind: Any) -> tuple[str, ...]:
    """Names of the fields of a dataclass or a named tuple, in order; empty for any other type."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    named = isinstance(kind, type) and issubclass(kind, tuple)
    return tuple(getattr(kind, "_fields", ())) if named else ()


def annotations_of(function: Any) -> dict[str, Any]:
    """The types that a function or a class states; empty where they name what is not there at run time."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {}


def structured(entries: Any, kind: Any = None) -> Any:
    """`{key: tensor or entries}` as the annotation `kind` says: a dataclass, a named tuple, a tuple.

    Without one, entries under `0`, `1`, ... are a list, others a dictionary. UserError for a field that is not there.
    """
    if not isinstance(entries, dict):
        return entries
    kinds = list(_alternatives(kind))
    by_place = all(key.isdigit() for key in entries)
    for kind in kinds:
        if names := fields_of(kind):
            return _with_fields(entries, kind, names)
    kind = next((k for k in kinds if typing.get_origin(k)), None)
    inner = [a for a in typing.get_args(kind) if a is not Ellipsis] or [None]
    if not by_place:
        return {key: structured(entry, inner[-1]) for key, entry in entries.items()}
    values = [
        structured(entries[key], inner[min(place, len(inner) - 1)])
        for place, key in enumerate(sorted(entries, key=int))
    ]
    return tuple(values) if tuple in (*kinds, typing.get_origin(kind)) else values


def _with_fields(entries: dict[str, Any], kind: Any, names: tuple[str, ...]) -> Any:
    stated, given = annotations_of(kind), {}
    for key, entry in entries.items():
        name = names[int(key)] if key.isdigit() and int(key) < len(names) else key
        if name not in names:
            raise UserError(f"{kind.__name__} has no field {key!r}; {did_you_mean(key, names)}")
        given[name] = structured(entry, stated.get(name))
    return kind(**given)


def _alternatives(kind: Any) -> Iterator[Any]:
    """The members of a union, or the type alone."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        for member in typing.get_args(kind):
            yield from _alternatives(member)
    else:
        yield kind
