"""All contenders in turn: each is loaded once, and while one runs the others wait."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from temport.exporter.errors import UserError
from temport.exporter.progress import Progress
from temport.exporter.scorecard.card import Speed
from temport.exporter.scorecard.contenders import Contender
from temport.plugins import first_line

TURNS = 20
"""Of which each contender takes as many as it has parts, which divides it: what slows the machine for a while slows a
part of each."""


@dataclass(frozen=True)
class Found:
    """What one contender came to: fields of its row, and its speed or why there is none."""

    fields: Mapping[str, Any]
    speed: Speed | None
    untimed: str = ""


def measure(contenders: Mapping[str, Contender], seconds: float, progress: Progress) -> dict[str, Found]:
    """seconds  of each. A contender that does not load or run says why and leaves the others alone."""
    fields: dict[str, Mapping[str, Any]] = {name: {} for name in contenders}
    failed: dict[str, str] = {}
    with contextlib.ExitStack() as opened:
        for name, contender in contenders.items():
            progress.step(f"loading {name}")
            with _told(name, failed):
                opened.callback(contender.close)
                fields[name] = contender.begin()
        running = [name for name in contenders if name not in failed]
        for turn in range(TURNS):
            progress.detail(f"timing {len(running)} runtimes ({turn + 1}/{TURNS})")
            first = turn % max(1, len(running))
            for name in (*running[first:], *running[:first]):
                parts = contenders[name].parts
                if name not in failed and turn % (TURNS // parts) == 0:
                    with _told(name, failed):
                        contenders[name].sample(seconds / parts)
    return {
        name: Found(fields[name], None, failed[name])
        if name in failed
        else Found(fields[name], contender.speed())
        for name, contender in contenders.items()
    }


@contextlib.contextmanager
def _told(name: str, failed: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        failed[name] = str(error)
    except Exception as error:
        failed[name] = first_line(error)
