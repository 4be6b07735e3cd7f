"""The command `temport bench modules`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temport.exporter.bench.options import Seconds
from temport.exporter.bench.tables import Output, milliseconds, table


def bench_modules(
    modules: Annotated[
        Path,
        typer.Argument(help="TOML: an array of tables [[module]], each with options as of a temport.toml."),
    ],
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.")] = 1,
    seconds: Seconds = 0.3,
    out: Annotated[
        Path, typer.Option(help="Where the JSON goes; the same as Markdown goes beside it.")
    ] = Path("bench-modules.json"),
) -> None:
    """Own modules beside a plain torch.onnx.export: nodes, attention that was recognised, parity, time, TensorRT."""
    from temport.exporter.bench.modules import run

    console = Output()
    rows = run(modules, out, threads=threads, seconds=seconds, progress=console.say)
    columns = {
        "": lambda row: row.name,
        "nodes": lambda row: f"{row.before or '-'} to {row.after}",
        "attention": lambda row: f"{len(row.found)} found, {len(row.kept)} kept",
        "torch": lambda row: milliseconds(row.plain) if row.plain else "-",
        "ours": lambda row: milliseconds(row.ours) if row.ours else "-",
        "ours / torch": lambda row: f"{row.ours / row.plain:.2f}" if row.ours and row.plain else "-",
    }
    console.print(table(f"against torch.onnx.export, {threads} thread(s)", rows, columns))
    console.print(f"written: {out}, {out.with_suffix('.md')}")
