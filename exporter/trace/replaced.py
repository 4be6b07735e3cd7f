"""A function of another package, replaced for as long as an export takes: where torch's exporter repeats itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any


@contextlib.contextmanager
def replaced(module: str, path: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """`path` (`function` or `Class.function`) of `module` is `make(it)`.

    Nothing happens in a version without it, or without what `make` imports and reads.
    """
    *outer, name = path.split(".")
    try:
        owner: Any = import_module(module)
        for part in outer:
            owner = getattr(owner, part)
        before = vars(owner)[name]
        after = make(before)
    except (ImportError, AttributeError, KeyError):
        yield
        return
    setattr(owner, name, after)
    try:
        yield
    finally:
        setattr(owner, name, before)
