"""The command `temport bench ops`: options, tables, files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from temport.exporter.bench.options import Contenders, Seconds, Threads, thread_counts
from temport.exporter.bench.tables import Output, milliseconds, quartiles, table

if TYPE_CHECKING:
    from temport.exporter.bench.ops import CaseResult, MemoryResult, OpsReport


def bench_ops(
    case: Annotated[
        list[str] | None, typer.Option(help="window, causal or block_linear; repeatable. Default: all.")
    ] = None,
    length: Annotated[
        list[int] | None, typer.Option(help="Sequence length; repeatable. Default: 60 to 8192.")
    ] = None,
    contender: Contenders = None,
    threads: Threads = "1,2",
    seconds: Seconds = 0.8,
    memory_length: Annotated[
        int, typer.Option(help="Length for peak memory growth; 0: not measured.")
    ] = 8192,
    out: Annotated[Path, typer.Option(help="Folder for bench-ops.json and bench-ops.svg.")] = Path(
        "bench-ops"
    ),
) -> None:
    """Our kernels against every peer on this machine, interleaved; share of a measured peak; memory growth.

    The files are written after every case: what an interrupted run had measured is in them.
    """
    from temport.exporter.bench.ops import CaseResult, run

    console = Output()

    def after(report: OpsReport, latest: CaseResult | MemoryResult) -> None:
        report.write(out)
        if isinstance(latest, CaseResult):
            _print(latest, console)
        else:
            grown = latest.mebibytes
            shown = "did not survive" if grown is None else f"{grown:.0f} MiB"
            console.print(
                f"{latest.name}, {latest.family}, length {latest.length}: peak memory grows by {shown}"
            )

    report = run(
        case or (),
        length or (),
        threads=thread_counts(threads),
        seconds=seconds,
        contenders=contender or (),
        memory_length=memory_length or None,
        progress=console.say,
        after=after,
    )
    _print_summary(report, console)
    console.print(f"{report.machine}; peak {report.peak_flops / 1e9:.1f} GFLOP/s per core")
    console.print(f"written: {out / 'bench-ops.json'}, {out / 'bench-ops.svg'}")


def _print_summary(report: OpsReport, console: Output) -> None:
    """Every case in one line."""
    columns = {
        "ours": lambda result: f"{result.family}, length {result.length}, threads {result.threads}",
        "median": lambda result: milliseconds(result.rows[0].timing.median),
        "of peak": lambda result: f"{result.rows[0].share:.0%}",
        "fastest peer": lambda result: result.fastest_peer.name,
        "peer / ours": lambda result: f"{result.fastest_peer.times_slower:.2f}",
    }
    if compared := [result for result in report.results if result.fastest_peer]:
        console.print(table("against the fastest peer", compared, columns))


def _print(result: CaseResult, console: Output) -> None:
    columns = {
        "": lambda row: row.name,
        "median": lambda row: milliseconds(row.timing.median),
        "quartiles": lambda row: quartiles(row.timing),
        "GFLOP/s": lambda row: f"{row.useful_flops_per_second / 1e9:.1f}",
        "of peak": lambda row: f"{row.share:.0%}",
        "times ours": lambda row: f"{row.times_slower:.2f}",
    }
    title = f"{result.family}, length {result.length}, threads {result.threads}"
    console.print(table(title, result.rows, columns))
    for name, reason in result.left_out.items():
        console.say(f"{name}: {reason}")
