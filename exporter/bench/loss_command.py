"""The command `temport bench loss`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench_loss(
    arch: Annotated[list[str] | None, typer.Option(help="Architecture; repeatable. Default: all.")] = None,
    seq: Annotated[int, typer.Option(help="Length of a window, and horizon of a stream.")] = 60,
    out: Annotated[Path | None, typer.Option(help="Also write the numbers as JSON.")] = None,
) -> None:
    """What weights in fewer bits, and rings of float16, cost every architecture with seeded weights, in float64: its
    outputs against those of the same model as it was.
    """
    from temport.exporter.bench.loss import run

    run(tuple(arch or ()), seq, out, typer.echo)
