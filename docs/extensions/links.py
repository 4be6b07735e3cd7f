"""Links between Markdown files, which are right in the repository, made right where a page shows another folder's file.

A link to a file that is a page leads to that page, a link to anything else in the repository becomes its words.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "deploy/README.md": "deploy.md",
    "deploy/triton/README.md": "triton.md",
}
"""File of the repository -> page of docs/ that shows it."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def led(text: str, home: Path) -> str:
    """`text`, written for a file in folder `home`, with links that a page in docs/ can have."""

    def place(link: re.Match[str]) -> str:
        picture, words, target, heading = link.groups()
        file = (home / target).resolve()
        page = DOCS / PAGES.get(str(file.relative_to(ROOT)), "") if file.is_relative_to(ROOT) else DOCS
        if page == DOCS:
            page = file
        if page.is_file() and page.is_relative_to(DOCS):
            return f"{picture}[{words}]({os.path.relpath(page, DOCS)}{heading or ''})"
        return words

    return LINK.sub(place, text)


def _page(app: Sphinx, name: str, source: list[str]) -> None:
    if "/" not in name:
        source[0] = led(source[0], DOCS)


def _included(app: Sphinx, path: Path, parent: str, source: list[str]) -> None:
    file = (DOCS / path).resolve()
    if file.suffix == ".md":
        source[0] = led(source[0], file.parent)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", _page)
    app.connect("include-read", _included)
    return {"parallel_read_safe": True}
