"""A user's factory, from `path.py:factory` or `package.module:factory`, loaded as Python itself would load it."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from temport.exporter.declare.program import SUFFIX, load_program, program_module
from temport.exporter.errors import UserError, did_you_mean, users_code


def load_factory(source: str, option: str = "--module") -> Any:
    """The callable that `path.py:factory` or `package.module:factory` names; for a `.pt2` file what gives its module.

    option  that named it, for what is said of it

    Files beside the named one can be imported, and the module stands in `sys.modules` under its own name, as
    dataclasses and pickles of its classes need it. UserError for whatever goes wrong, with the user's own line.
    """
    if source.endswith(SUFFIX):
        return lambda: program_module(load_program(Path(source)))
    place, colon, name = source.rpartition(":")
    if not colon or not name.isidentifier():
        raise UserError(f"{option} {source!r} is not FILE.py:NAME or package.module:NAME")
    path = Path(place)
    if path.suffix == ".py" or path.is_file():
        loaded = _file(path, f"{option} {source!r}")
    elif re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", place):
        loaded = _package(place, f"{option} {source!r}")
    else:
        raise UserError(f"{option} {source!r} is not FILE.py:NAME with an existing file")
    if not callable(getattr(loaded, name, None)):
        callables = [n for n, v in vars(loaded).items() if callable(v) and not n.startswith("_")]
        raise UserError(f"{place} has no callable {name!r}; {did_you_mean(name, callables)}")
    return getattr(loaded, name)


def source_file(source: str) -> Path | None:
    """The file that `source` names or is; None where there is none, as for a module that was handed over alive."""
    place = source.rpartition(":")[0]
    for file in (source, place):
        if Path(file).is_file():
            return Path(file)
    found = sys.modules.get(place)
    origin = getattr(found, "__file__", None)
    return Path(origin) if origin else None


def _file(path: Path, asked: str) -> Any:
    if not path.is_file():
        raise UserError(f"{asked} is not FILE.py:NAME with an existing file")
    folder = str(path.resolve().parent)
    name = path.stem if path.stem.isidentifier() else f"module_{re.sub(r'[^0-9a-zA-Z_]', '_', path.stem)}"
    if name in sys.stdlib_module_names or _elsewhere(name, path):
        name = f"{name}_of_the_user"
    loader = _Source(name, str(path)) if path.suffix == ".py" else None
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None or spec.loader is None:
        raise UserError(f"{asked}: {path} is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[name] = loaded
    with users_code(f"{path} cannot be loaded"):
        try:
            spec.loader.exec_module(loaded)
        except SyntaxError as error:
            raise UserError(f"{path} is not valid Python: {error}") from error
    return loaded


class _Source(SourceFileLoader):
    """Of the text that is there now: byte code that was kept counts as its own where size and second are the same."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _elsewhere(name: str, path: Path) -> bool:
    """Whether another file is already imported under that name."""
    known = getattr(sys.modules.get(name), "__file__", None)
    return name in sys.modules and (known is None or Path(known).resolve() != path.resolve())


def _package(place: str, asked: str) -> Any:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with users_code(f"{place} cannot be imported"):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not (place == error.name or place.startswith(f"{error.name}.")):
                raise
            raise UserError(
                f"{asked} names no package that can be imported, and no file FILE.py:NAME"
            ) from error
