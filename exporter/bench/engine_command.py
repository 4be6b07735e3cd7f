"""The command `temport bench engine`: options, tables, files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from temport.exporter.bench.options import Contenders, Models, Seconds, chosen_models
from temport.exporter.bench.tables import Output, table

if TYPE_CHECKING:
    from temport.exporter.bench.contest import Row
    from temport.exporter.bench.engine import EngineReport, Result


def bench_engine(
    model: Models = None,
    contender: Contenders = None,
    seconds: Seconds = 0.5,
    out: Annotated[Path, typer.Option(help="Folder for bench-engine.json and bench-engine.svg.")] = Path(
        "bench-engine"
    ),
) -> None:
    """The native engine against ONNX Runtime with and without our kernels, OpenVINO, torch, AOTInductor and the C of
    emx-onnx-cgen, interleaved: one frame of a stream, and windows of 60, at batch 1 on one thread.
    """
    from temport.exporter.bench.engine import MODELS, run

    chosen = chosen_models(MODELS, model)
    console = Output()

    def after(report: EngineReport, latest: Result) -> None:
        report.write(out)
        _print(latest, console)

    report = run(chosen, seconds=seconds, contenders=contender or (), progress=console.say, after=after)
    console.print(report.machine)
    console.print(f"written: {out / 'bench-engine.json'}, {out / 'bench-engine.svg'}")


def _print(result: Result, console: Output) -> None:
    from temport.exporter.bench.engine_contenders import BASE, OURS

    ours, base = result.seconds(OURS), result.seconds(BASE)

    def against(row: Row) -> str:
        return f"{row.timing.median / ours:.2f}"

    console.print(
        table(
            f"{result.model.name} parameters ({result.parameters}); {BASE} / engine {base / ours:.1f}, engine / floor "
            f"of {result.bound} {ours / result.floor:.2f}",
            result.rows,
            {
                "": lambda row: row.name,
                "median": lambda row: _us(row.timing.median),
                "quartiles": lambda row: f"{_us(row.timing.lower)} - {_us(row.timing.upper)}",
                "this / engine": against,
                "largest error": lambda row: f"{row.error:.1e}",
            },
        )
    )
    for name, reason in result.left_out.items():
        console.say(f"left out: {name}: {reason}")


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} us"
