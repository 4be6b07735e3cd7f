"""The command `temport bench ops`: options, table, files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from exporter.errors import UserError

if TYPE_CHECKING:
    from exporter.bench.ops import CaseResult, OpsReport


def bench_ops(
    case: Annotated[
        list[str] | None, typer.Option(help="window, causal or block_linear; repeatable. Default: all.")
    ] = None,
    length: Annotated[
        list[int] | None, typer.Option(help="Sequence length; repeatable. Default: 60 to 8192.")
    ] = None,
    contender: Annotated[
        list[str] | None, typer.Option(help="Only these peers beside ours; repeatable. Default: all.")
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, with commas.")] = "1,2",
    seconds: Annotated[float, typer.Option(help="Seconds per contender and case.")] = 4.0,
    memory_length: Annotated[
        int, typer.Option(help="Length for peak memory growth; 0: not measured.")
    ] = 8192,
    out: Annotated[Path, typer.Option(help="Folder for bench-ops.json and bench-ops.svg.")] = Path(
        "bench-ops"
    ),
) -> None:
    """Our kernels against every peer on this machine, interleaved; share of a measured peak; memory growth."""
    from exporter.bench.ops import run

    counts = tuple(int(t) for t in threads.split(",") if t.strip().isdigit())
    if not counts or min(counts) < 1:
        raise UserError(
            f"--threads is {threads!r}; it must be numbers of at least 1 with commas, such as 1,2."
        )
    console = Console()
    report = run(
        case,
        length,
        threads=counts,
        seconds=seconds,
        contenders=contender,
        memory_length=memory_length or None,
        progress=lambda text: console.print(f"[dim]{text}[/dim]"),
    )
    console.print(f"{report.machine}; peak {report.peak_flops / 1e9:.1f} GFLOP/s per core")
    for result in report.results:
        console.print(_table(result))
        for name, reason in result.left_out.items():
            console.print(f"[dim]{name}: {reason}[/dim]")
    if report.memory:
        console.print(_memory(report))
    for path in report.write(out):
        console.print(f"written: {path}")


def _table(result: CaseResult) -> Table:
    threads = f"{result.threads} thread{'s' if result.threads > 1 else ''}"
    table = Table(title=f"{result.family}, length {result.length}, {threads}", title_justify="left")
    for heading in ("", "median ms", "quartiles", "GFLOP/s", "of peak", "times ours"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in result.rows:
        t = row.timing
        table.add_row(
            row.name,
            f"{t.median * 1e3:.3f}",
            f"{t.lower * 1e3:.3f} - {t.upper * 1e3:.3f}",
            f"{row.useful_flops_per_second / 1e9:.1f}",
            f"{row.share:.0%}",
            f"{row.times_slower:.2f}",
        )
    return table


def _memory(report: OpsReport) -> Table:
    table = Table(title="peak memory growth, MiB", title_justify="left")
    for heading in ("", "case", "length", "MiB"):
        table.add_column(heading, justify="right" if heading in ("length", "MiB") else "left")
    for row in report.memory:
        grown = row["mebibytes"]
        shown = "did not survive" if grown is None else f"{grown:.0f}"
        table.add_row(row["name"], row["family"], str(row["length"]), shown)
    return table
