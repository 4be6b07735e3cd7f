"""What is written to a terminal. Words from outside (a bundle's names, a runtime's errors, a path) stay words there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

SPACES = "\n\t"
_VISIBLE = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in SPACES
} | {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Control characters and those that turn the direction of writing, as they are shown."""


def printable(text: str) -> str:
    """`text` with its control characters spelled out: none of them reaches a terminal."""
    return text.translate(_VISIBLE)


class Terminal(Console):
    """A console that reads no markup in what it prints, and lets no escape sequence through but its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich does it, control characters of texts spelled out."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)
