"""The command `temport bench streams`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from temport.exporter.bench.options import Contenders, Models, Seconds, chosen_models
from temport.exporter.bench.tables import Output, table

if TYPE_CHECKING:
    from temport.exporter.bench.streams import Result, StreamsReport


def bench_streams(
    model: Models = None,
    contender: Contenders = None,
    seconds: Seconds = 0.5,
    out: Annotated[
        Path, typer.Option(help="Folder for bench-streams.json, bench-streams.md and bench-streams.svg.")
    ] = Path("bench-streams"),
) -> None:
    """A frame of torch models that know nothing of streams: our step models against the whole window at every frame in
    ONNX Runtime and OpenVINO, tract's `pulse` and continual-inference, at batch 1 on one thread.
    """
    from temport.exporter.bench.stream_models import MODELS
    from temport.exporter.bench.streams import run

    chosen = chosen_models(MODELS, model)
    console = Output()

    def after(report: StreamsReport, latest: Result) -> None:
        report.write(out)
        _print(latest, console)

    report = run(chosen, seconds=seconds, contenders=contender or (), progress=console.say, after=after)
    console.print(report.machine)
    console.print(
        f"written: {', '.join(str(out / f'bench-streams.{kind}') for kind in ('json', 'md', 'svg'))}"
    )


def _print(result: Result, console: Output) -> None:
    best = result.rows[0].timing.median
    console.print(
        table(
            f"{result.model}, {result.parameters:,} parameters",
            result.rows,
            {
                "": lambda row: row.name,
                "frames/s": lambda row: f"{row.frames_per_second:,.0f}",
                "frame": lambda row: f"{row.timing.median * 1e6:.3g} us",
                "this / engine": lambda row: f"{row.timing.median / best:.2f}",
                "bytes of state": lambda row: "" if row.state_bytes is None else f"{row.state_bytes:,}",
                "largest error": lambda row: f"{row.error:.1e}",
            },
        )
    )
    for name, reason in result.left_out.items():
        console.say(f"left out: {name}: {reason}")
