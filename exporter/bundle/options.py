"""What every command takes that opens a bundle."""

from __future__ import annotations

from typing import Annotated

import typer

Digest = Annotated[
    str | None,
    typer.Option(help="The bundle that is wanted, by its manifest.sha256: any other one is refused."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse files that the bundle's manifest does not list.")
]
