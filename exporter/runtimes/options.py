"""Options by which commands name runtimes and runners."""

from __future__ import annotations

from typing import Annotated

import typer

Runtimes = Annotated[
    list[str] | None,
    typer.Option("--runtime", help="Run parity only here; repeat for several. Or fast, the default, or all."),
]
Runners = Annotated[
    list[str] | None,
    typer.Option(
        "--runner",
        help="A program like temport-run, or ssh:HOST, which gets bundle and runner: its rows join; repeatable.",
    ),
]
