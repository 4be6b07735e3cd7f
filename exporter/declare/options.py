"""The options of an architecture as text: what `temport list ARCH` shows and `--set` takes."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temport.exporter.errors import UserError, did_you_mean
from temport.graphs.architecture import Architecture, Options


@dataclass(frozen=True)
class Option:
    """One architecture option as `temport list ARCH` shows it."""

    name: str
    type: str
    default: str
    help: str


def options(arch: Architecture) -> list[Option]:
    """The options of an architecture with type, default and help."""
    hints = typing.get_type_hints(arch.config)
    table = []
    for field in dataclasses.fields(arch.config):
        if field.default is not dataclasses.MISSING:
            default = _show(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            default = _show(field.default_factory())
        else:
            default = f"required (example {_show(arch.example[field.name])})"
        table.append(
            Option(field.name, _type_name(hints[field.name]), default, field.metadata.get("help", ""))
        )
    return table


def configure(arch: Architecture, settings: Sequence[str], **fixed: Any) -> tuple[Any, tuple[str, ...]]:
    """The architecture's config from `key=value` strings; returns it with notes on what was filled in.

    A required option that is not set takes the value of the documented usage example, and a note says so.
    """
    hints = typing.get_type_hints(arch.config)
    values: dict[str, Any] = {name: value for name, value in fixed.items() if name in hints}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals:
            raise UserError(f"--set {setting!r} is not key=value, for example --set num_layers=2")
        if key in fixed:
            raise UserError(
                f"--set {setting} would contradict --seq; give the sequence length with --seq only"
            )
        if key not in hints:
            raise UserError(f"{arch.name} has no option {key!r}; {did_you_mean(key, hints)}")
        values[key] = _parse(key, text.strip(), hints[key])
    missing = {k: v for k, v in arch.example.items() if k not in values}
    notes = tuple(f"{k} was not set: the usage example's {k}={_show(v)} is used" for k, v in missing.items())
    try:
        return arch.config(**missing, **values), notes
    except ValueError as error:
        raise UserError(str(error)) from error


def as_settings(options: Options) -> tuple[str, ...]:
    """Options as `--set` takes them."""
    return tuple(f"{name}={_show(value)}" for name, value in options.items())


def _parse(key: str, text: str, hint: Any) -> Any:
    """`text` as the option's type, or a sentence naming the type."""
    variants = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if text.lower() == "none" and type(None) in variants:
        return None
    kind = next(v for v in variants if v is not type(None))
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if typing.get_origin(kind) is tuple:
            return tuple(int(part) for part in text.strip("[]()").split(",") if part.strip())
        return kind(text)
    except (ValueError, KeyError):
        raise UserError(f"option {key} is {_type_name(hint)}; {text!r} is not") from None


def _type_name(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join(_type_name(v) for v in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "list of int"
    return "none" if hint is type(None) else hint.__name__


def _show(value: Any) -> str:
    return (
        ",".join(map(str, value))
        if isinstance(value, tuple)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
