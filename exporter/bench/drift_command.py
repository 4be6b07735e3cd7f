"""The command `temport bench drift`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from temport.exporter.bench.options import Models, chosen_models
from temport.exporter.bench.tables import Output

if TYPE_CHECKING:
    from temport.exporter.bench.drift import Drift, DriftReport


def bench_drift(
    model: Models = None,
    frames: Annotated[int, typer.Option(min=1000, help="Frames of every stream.")] = 1_000_000,
    out: Annotated[Path, typer.Option(help="Folder for bench-drift.json and bench-drift.svg.")] = Path(
        "bench-drift"
    ),
) -> None:
    """Streams of a million frames in the native engine and in ONNX Runtime with our kernels, against float64.

    Exit code 1 where an error of the second half of a stream is more than twice that of the first.
    """
    from temport.exporter.bench.drift import run
    from temport.exporter.bench.stream_models import MODELS

    chosen = chosen_models(MODELS, model)
    console = Output()

    def after(report: DriftReport, latest: Drift) -> None:
        report.write(out)
        for stream, errors in latest.errors.items():
            half = len(errors) // 2
            grows = "GROWS" if latest.grows(stream) else "does not grow"
            console.print(
                f"{latest.model}, {latest.runtime}, {stream}: {max(errors[:half]):.1e} until frame "
                f"{latest.frames[half - 1]:,}, {max(errors[half:]):.1e} until frame {latest.frames[-1]:,}; {grows}"
            )

    report = run(chosen, frames=frames, progress=console.say, after=after)
    console.print(f"written: {out / 'bench-drift.json'}, {out / 'bench-drift.svg'}")
    if not report.passed:
        raise typer.Exit(1)
