"""The command `temport bench gpu`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench_gpu(
    out: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("bench-gpu.json"),
) -> None:
    """Build, prove and time the CUDA kernels on this machine's GPU against torch; try TensorRT."""
    from exporter.bench.gpu import run, table

    typer.echo(table(run(out, say=typer.echo)))
    typer.echo(f"written: {out}")
