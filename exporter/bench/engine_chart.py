"""The picture of `temport bench engine`: per model, the time of every contender as a multiple of the engine's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from temport.exporter.bench.model_chart import Panel, panels

if TYPE_CHECKING:
    from temport.exporter.bench.engine import Result


def chart(results: Sequence[Result]) -> str:
    """One SVG document; the red line is the floor: weights read once, or products at the peak."""
    return panels([_panel(result) for result in results])


def _panel(result: Result) -> Panel:
    bars = [(row.name, row.timing.median) for row in result.rows]
    return f"{result.model.name} parameters", bars, result.floor
