"""Templates of pages. Every string that goes into one is escaped, and a name that nobody gives is an error."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@cache
def pages(folder: Path) -> Environment:
    """The templates that lie in a folder, with the style that all pages share."""
    return Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
