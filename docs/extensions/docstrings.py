"""Docstrings as they are written here, plain text with aligned tables, become what Sphinx reads.

A docstring has paragraphs, tables of `name   what` whose second column starts at least two spaces after the first and
goes on indented, and indented text that stays as it is. Backticks are code, every other character is itself.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROW = re.compile(r"(?P<name>\S(?:.*?\S)?) {2,}(?P<what>\S.*)")
CODE = re.compile(r"(`+)(.+?)\1")
LONG = {
    r"<factory>": "...",
    r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[[\w.~]+\]\]": "~numpy.ndarray",
    r"~numpy\._typing\._array_like\._Buffer \| .*?_NestedSequence\[complex \| bytes \| str\]": "ArrayLike",
}
"""What a signature says at length or in no Python -> what it means."""
SPECIAL = re.compile(r"([\\*|]|_(?!\w)|(?<!\w)_|`)")


def inline(text: str) -> str:
    """One run of text as reStructuredText."""
    parts, end = [], 0
    for code in CODE.finditer(text):
        before, after = text[end : code.start()], text[code.end() : code.end() + 1]
        parts.append(SPECIAL.sub(r"\\\1", before))
        parts.append("\\ " if before and not before[-1].isspace() else "")
        parts.append(f"``{code.group(2)}``" + ("\\ " if after and not after.isspace() else ""))
        end = code.end()
    return "".join(parts) + SPECIAL.sub(r"\\\1", text[end:])


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> list[str]:
    """A table of cells that are reStructuredText already."""
    lines = [".. list-table::", "   :widths: auto", "   :align: left"]
    if head:
        lines.append("   :header-rows: 1")
    lines.append("")
    for row in (head, *rows) if head else rows:
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return [*lines, ""]


def rewritten(lines: Sequence[str]) -> Iterator[str]:
    """A docstring's lines as reStructuredText, block by block between empty lines."""
    for filled, block in groupby(lines, lambda line: bool(line.strip())):
        if filled:
            yield from _block(list(block))


def _block(lines: list[str]) -> Iterator[str]:
    if all(line.startswith("    ") for line in lines):
        yield from ("::", "", *lines, "")
        return
    paragraph: list[str] = []
    rows: list[list[str]] = []
    column = next((row.start("what") for row in map(ROW.fullmatch, lines) if row), 0)
    for line in lines:
        row = ROW.fullmatch(line)
        if row:
            rows.append([row["name"], row["what"]])
        elif (
            column and " " not in line[: column - 1] and line[column - 1 : column] == " "
        ):  # the longest name
            rows.append([line[: column - 1], line[column:]])
        elif rows and line.startswith("  "):
            rows[-1][1] += " " + line.strip()
        elif line.startswith("- "):
            yield from _told(paragraph)
            paragraph = [line]
        else:
            paragraph.append(line.strip())
    yield from _told(paragraph)
    if rows:
        yield from table([(inline(n) if "`" in n else f"``{n}``", inline(what)) for n, what in rows])


def _told(paragraph: list[str]) -> Iterator[str]:
    if paragraph:
        yield inline(" ".join(paragraph))
        yield ""


def options(config: Any) -> list[str]:
    """The options of a configuration: the fields of a dataclass that carry a help text."""
    rows = []
    for field in dataclasses.fields(config):
        if told := field.metadata.get("help"):
            default = "required" if field.default is dataclasses.MISSING else f"``{field.default!r}``"
            choices = ", ".join(f"``{c}``" for c in field.metadata.get("choices", ()))
            rows.append((f"``{field.name}``", default, inline(told) + (f" ({choices})" if choices else "")))
    return table(rows, ("option", "default", "what it is")) if rows else []


def _process(app: Sphinx, what: str, name: str, item: Any, settings: Any, lines: list[str]) -> None:
    lines[:] = list(rewritten(lines))
    if what == "class" and dataclasses.is_dataclass(item):
        lines += options(item)


def _sign(
    app: Sphinx, what: str, name: str, item: Any, settings: Any, signature: str, returns: str
) -> tuple[str | None, str | None]:
    """A protocol is not called, and a configuration has its table."""
    if what == "class" and (Protocol in item.__bases__ or (dataclasses.is_dataclass(item) and options(item))):
        return "", None
    return _short(signature), _short(returns)


def _short(text: str | None) -> str | None:
    for long, short in LONG.items():
        text = text and re.sub(long, short, text)
    return text


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-process-signature", _sign)
    return {"parallel_read_safe": True}
