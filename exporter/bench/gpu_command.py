"""The command `temport bench gpu`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench_gpu(
    out: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("bench-gpu.json"),
) -> None:
    """Build, prove and time the CUDA kernels on this machine's GPU against torch; try TensorRT engines.

    Needs a GPU and nvcc, and takes less than ten minutes. Exit code 1 when a kernel or an engine is wrong, fails or
    hangs; what is not installed is reported as not run.
    """
    from temport.exporter.bench.gpu import run
    from temport.exporter.bench.gpu_table import table

    report = run(out, say=typer.echo)
    typer.echo(table(report))
    typer.echo(f"written: {out}")
    raise typer.Exit(1 if report["failures"] else 0)
