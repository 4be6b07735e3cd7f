"""Options that the benchmark commands share, read from what was typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Protocol, TypeVar

import typer

from temport.exporter.errors import UserError

Contenders = Annotated[
    list[str] | None,
    typer.Option("--contender", help="Only these beside ours; repeatable. Default: all."),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="Only models whose name holds this text; repeatable. Default: all."),
]
Threads = Annotated[str, typer.Option(help="Numbers of threads, with commas.")]


def _time(seconds: float) -> float:
    if not 0 < seconds < 1e6:
        raise typer.BadParameter(f"{seconds} is no time to measure for, in seconds")
    return seconds


Seconds = Annotated[float, typer.Option(help="Seconds per contender and case.", callback=_time)]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Model = TypeVar("Model", bound=_Named)


def chosen_models(models: Sequence[Model], asked: Sequence[str] | None) -> list[Model]:
    """Those whose name holds one of the texts of `--model`; UserError where there is none."""
    chosen = [m for m in models if not asked or any(text in m.name for text in asked)]
    if not chosen:
        raise UserError(
            f"no model's name holds {', '.join(asked or ())}; they are {'; '.join(m.name for m in models)}"
        )
    return chosen


def thread_counts(text: str) -> tuple[int, ...]:
    """The option `--threads`: `1,2` -> (1, 2)."""
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text):
        raise UserError(f"--threads {text!r} is not numbers with commas, such as 1,2")
    return tuple(int(count) for count in text.split(","))


def shape_of(text: str) -> tuple[int, int]:
    """The option `--shape`: `32x256` -> (32, 256)."""
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if match is None:
        raise UserError(f"--shape {text!r} is not BATCHxLENGTH, such as 32x256")
    return int(match.group(1)), int(match.group(2))
