"""The command `temport bench model`: options, tables, files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from exporter.bench.model_chart import milliseconds
from exporter.errors import UserError

if TYPE_CHECKING:
    from exporter.bench.model import ModelResult

PROFILE_SHOWN = 5


def bench_model(
    arch: Annotated[
        list[str] | None,
        typer.Option(help="Architecture; repeatable. Default: all (attention is sliding_window)."),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="BATCHxLENGTH such as 32x256; repeatable. Default: 1x60 1x256 1x1024 32x60."),
    ] = None,
    contender: Annotated[
        list[str] | None, typer.Option(help="Only these beside ours; repeatable. Default: all.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Architecture option key=value; repeatable.")
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, with commas.")] = "1,2",
    seconds: Annotated[float, typer.Option(help="Seconds per contender and case.")] = 0.4,
    compile_everywhere: Annotated[
        bool,
        typer.Option(
            "--compile-everywhere", help="Compile torch's peers for every shape, not only the first."
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for bench-model.json and bench-model.svg.")] = Path(
        "bench-model"
    ),
) -> None:
    """Our export against torch eager, torch.compile, AOTInductor, a plain ONNX export and OpenVINO, interleaved."""
    from exporter.bench.model import DEFAULT_ARCHITECTURES, DEFAULT_SHAPES, run

    console = Console()
    report = run(
        arch or DEFAULT_ARCHITECTURES,
        [_shape(text) for text in shape] if shape else DEFAULT_SHAPES,
        threads=_counts(threads),
        seconds=seconds,
        contenders=contender,
        compile_everywhere=compile_everywhere,
        settings=settings,
        progress=lambda text: console.print(f"[dim]{text}[/dim]"),
    )
    peak = f"; peak {report.peak_flops / 1e9:.1f} GFLOP/s per core" if report.peak_flops else ""
    console.print(f"{report.machine}{peak}")
    for result in report.results:
        _print(result, console)
    for path in report.write(out):
        console.print(f"written: {path}")


def _counts(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise UserError(f"--threads {text!r} is not numbers with commas, such as 1,2")
    return tuple(int(count) for count in text.split(","))


def _shape(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if match is None:
        raise UserError(f"--shape {text!r} is not BATCHxLENGTH, such as 32x256")
    return int(match.group(1)), int(match.group(2))


def _print(result: ModelResult, console: Console) -> None:
    title = f"{result.arch}, batch {result.batch}, length {result.length}, threads {result.threads}"
    table = Table(title=title, title_justify="left")
    for heading in ("", "median", "quartiles", "times ours", "error"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in result.rows:
        t = row.timing
        table.add_row(
            row.name,
            milliseconds(t.median),
            f"{milliseconds(t.lower)} - {milliseconds(t.upper)}",
            f"{t.median / result.ours.timing.median:.2f}",
            f"{row.error:.1e}",
        )
    console.print(table)
    if peer := result.fastest_peer:
        ratio = result.ours.timing.median / peer.timing.median
        console.print(f"{ratio:.2f}x the time of the fastest peer, {peer.name}")
    floor = "" if result.floor is None else f"; at peak they take {milliseconds(result.floor)}"
    shares = result.flops, result.traced_flops
    console.print(f"{shares[0] / 1e6:.1f} of {shares[1] / 1e6:.1f} MFLOP are left after pruning{floor}")
    largest = list(result.profile.items())[:PROFILE_SHOWN]
    console.print("profile: " + ", ".join(f"{op} {spent:.0f} us" for op, spent in largest))
    for name, reason in result.left_out.items():
        console.print(f"[dim]{name}: {reason}[/dim]")
