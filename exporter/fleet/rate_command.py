"""The command `temport bench fleet`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from temport.exporter.bench.tables import Output, table


def bench_fleet(
    jobs: Annotated[int, typer.Option(min=1, help="Small exports that the fleet does.")] = 200,
    alone: Annotated[int, typer.Option(min=1, help="How many of them a loop in one process does.")] = 30,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Of this machine at once. Default: its cores.")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(help="Also on the Ray cluster at this address, such as auto.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Directory or address of the results. Default: one that is removed.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("bench-fleet.json"),
) -> None:
    """Jobs a minute of a fleet of small exports, beside a loop in one process."""
    from temport.exporter.files import write_whole
    from temport.exporter.fleet.rate import run

    console = Output()
    count = processes or len(os.sched_getaffinity(0))
    report = run(jobs, min(alone, jobs), count, ray, store, console.say)
    first = report.rates[0].a_minute
    columns = {
        "": lambda rate: rate.name,
        "jobs": lambda rate: str(rate.jobs),
        "seconds": lambda rate: f"{rate.seconds:.1f}",
        "a minute": lambda rate: f"{rate.a_minute:.0f}",
        "times the loop": lambda rate: f"{rate.a_minute / first:.2f}",
    }
    console.print(table(f"small exports, {report.machine}", report.rates, columns))
    console.print(
        f"planning {report.planning:.1f} s; a run with nothing left to do {report.nothing_left:.2f} s"
    )
    write_whole(out, json.dumps(report.to_json(), indent=1) + "\n")
    console.print(f"written: {out}")
