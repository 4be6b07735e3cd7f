"""What an export can be asked, by the names of its options: as typed, and as a `temport.toml` holds it."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.errors import UserError, did_you_mean
from temport.exporter.request import ExportRequest

SOURCES = ("arch", "module", "onnx")
"""One of them is exported: who types one means no other, whatever the file says."""
CODE = ("module", "metric")
"""Options that name code, as `FILE.py:NAME`."""
WORDS = {
    str: "a text or a number",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
}


@dataclasses.dataclass(frozen=True)
class Option:
    """Where a value goes: a field of `ExportRequest`, or of its `CompileOptions`; one of a kind, or many."""

    field: str
    compiles: bool
    kind: type
    many: bool


def _options() -> dict[str, Option]:
    found = {}
    for owner in (ExportRequest, CompileOptions):
        hints = get_type_hints(owner)
        for field in dataclasses.fields(owner):
            if field.name not in ("live", "compile"):
                hint = hints[field.name]
                kind = (get_args(hint) or (hint,))[0]
                name = field.metadata.get("option", field.name.replace("_", "-"))
                found[name] = Option(field.name, owner is CompileOptions, kind, get_origin(hint) is tuple)
    return found


OPTIONS = _options()
"""By their names, without the dashes in front."""


def typed_in(context: Any) -> dict[str, Any]:
    """The options that were typed, by their names: from the context of a typer command."""
    typed = {}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name)
        if source is not None and source.name == "COMMANDLINE":
            typed[parameter.opts[0].removeprefix("--")] = context.params[parameter.name]
    return typed


def request_of(given: Mapping[str, Any], config: Path | None = None) -> ExportRequest:
    """The request of these options; those that are not given as the file says.

    given  values by the names of the options, as typed

    UserError for a file that is none, and for names and values that no option has.
    """
    values = {} if config is None else read_config(config, given)
    values |= {name: _value(name, value, Path(), "the command line") for name, value in given.items()}
    return ExportRequest(**fields_of(values))


def fields_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the fields of a request, from values by the names of the options."""
    own = {OPTIONS[name].field: value for name, value in values.items() if not OPTIONS[name].compiles}
    compiles = {OPTIONS[name].field: value for name, value in values.items() if OPTIONS[name].compiles}
    return own | {"compile": CompileOptions(**compiles)}


def read_config(path: Path, given: Collection[str] = ()) -> dict[str, Any]:
    """Values by the names of the options; relative paths are meant from the folder of the file.

    given  what is asked besides: a source there takes the place of the file's
    """
    return options_in(read_toml(path), path, given)


def read_toml(path: Path) -> dict[str, Any]:
    """What a file says; UserError where it cannot be read or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from error


def options_in(found: Mapping[str, Any], path: Path, given: Collection[str] = ()) -> dict[str, Any]:
    """The same of a table that stands in the file."""
    if unknown := next((name for name in found if name not in OPTIONS), None):
        raise UserError(f"{path}: {unknown!r} is no option of an export; {did_you_mean(unknown, OPTIONS)}")
    left = SOURCES if any(name in given for name in SOURCES) else ()
    return {
        name: _value(name, value, path.parent, str(path)) for name, value in found.items() if name not in left
    }


def _value(name: str, value: Any, folder: Path, where: str) -> Any:
    option = OPTIONS[name]
    if not option.many:
        return _one(name, value, folder, where)
    if isinstance(value, Mapping):  # [set] window_size = 60
        value = [f"{key}={entry}" for key, entry in value.items()]
    elif isinstance(value, str) and name == "output-names":
        value = value.split(",")
    elif not isinstance(value, list | tuple):
        value = [value]
    return tuple(_one(name, entry, folder, where) for entry in value)


def _one(name: str, value: Any, folder: Path, where: str) -> Any:
    kind = OPTIONS[name].kind
    if kind is Path and isinstance(value, str | Path):
        return folder / value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is str and (isinstance(value, str) or number):
        return _beside(str(value), folder) if name in CODE else str(value)
    if kind is float and number:
        return float(value)
    if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
        return value
    raise UserError(f"{where}: {name} is {value!r}; it wants {WORDS[kind]}")


def _beside(module: str, folder: Path) -> str:
    """`FILE.py:FACTORY` or `FILE.pt2` from the folder where there is such a file; a package stays as it is."""
    place = module.rpartition(":")[0] or module
    return str(folder / module) if (folder / place).is_file() else module
