"""The command `temport bench model`: options, tables, files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from temport.exporter.bench.options import Contenders, Seconds, Threads, shape_of, thread_counts
from temport.exporter.bench.tables import Output, milliseconds, quartiles, table

if TYPE_CHECKING:
    from temport.exporter.bench.model import ModelReport, ModelResult
    from temport.exporter.bench.model_stream import StreamResult

PROFILE_SHOWN = 8


def bench_model(
    arch: Annotated[
        list[str] | None,
        typer.Option(help="Architecture; repeatable. Default: all (attention is sliding_window)."),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="BATCHxLENGTH such as 32x256; repeatable. Default: 1x60 1x256 1x1024 32x60."),
    ] = None,
    contender: Contenders = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Architecture option key=value; repeatable.")
    ] = None,
    threads: Threads = "1,2",
    seconds: Seconds = 0.3,
    compile_everywhere: Annotated[
        bool,
        typer.Option(
            "--compile-everywhere", help="Compile torch's peers for every shape, not only the first."
        ),
    ] = False,
    stream: Annotated[bool, typer.Option(help="Also time one frame of what runs frame by frame.")] = True,
    out: Annotated[Path, typer.Option(help="Folder for bench-model.json and bench-model.svg.")] = Path(
        "bench-model"
    ),
) -> None:
    """Our export against torch eager, torch.compile, AOTInductor, a plain ONNX export and OpenVINO, interleaved;
    one frame of a stream against a whole window.

    The files are written after every case: what an interrupted run had measured is in them.
    """
    from temport.exporter.bench.model import DEFAULT_ARCHITECTURES, DEFAULT_SHAPES, ModelResult, run

    console = Output()

    def after(report: ModelReport, latest: ModelResult | StreamResult) -> None:
        report.write(out)
        if isinstance(latest, ModelResult):
            _print(latest, console)
        else:
            _print_stream(latest, console)

    report = run(
        arch or DEFAULT_ARCHITECTURES,
        [shape_of(text) for text in shape] if shape else DEFAULT_SHAPES,
        threads=thread_counts(threads),
        seconds=seconds,
        contenders=contender or (),
        compile_everywhere=compile_everywhere,
        settings=settings or (),
        streams=stream,
        progress=console.say,
        after=after,
    )
    _print_summary(report, console)
    for name, reason in report.not_streamed.items():
        console.say(f"not frame by frame: {name}: {reason}")
    peak = f"; peak {report.peak_flops / 1e9:.1f} GFLOP/s per core" if report.peak_flops else ""
    console.print(f"{report.machine}{peak}")
    console.print(f"written: {out / 'bench-model.json'}, {out / 'bench-model.svg'}")


def _print_summary(report: ModelReport, console: Output) -> None:
    """Every case in one line."""
    columns = {
        "ours": _case,
        "median": lambda result: milliseconds(result.ours.timing.median),
        "fastest peer": lambda result: result.fastest_peer.name,
        "ours / peer": lambda result: f"{result.ours.timing.median / result.fastest_peer.timing.median:.2f}",
        "ours / floor": lambda result: (
            f"{result.ours.timing.median / result.floor:.1f}" if result.floor else ""
        ),
    }
    if compared := [result for result in report.results if result.fastest_peer]:
        console.print(table("against the fastest peer", compared, columns))
    columns = {
        "one frame": lambda result: f"{result.arch}, threads {result.threads}",
        "median": lambda result: milliseconds(result.step.median),
        "window / frame": lambda result: f"{result.window.median / result.step.median:.1f}",
        "frame / floor": lambda result: f"{result.step.median / result.floor:.1f}",
    }
    if report.streams:
        console.print(table("frame by frame", report.streams, columns))


def _case(result: ModelResult) -> str:
    chosen = f" ({', '.join(result.settings)})" if result.settings else ""
    return f"{result.arch}{chosen}, batch {result.batch}, length {result.length}, threads {result.threads}"


def _print(result: ModelResult, console: Output) -> None:
    ours = result.ours.timing.median
    columns = {
        "": lambda row: row.name,
        "median": lambda row: milliseconds(row.timing.median),
        "quartiles": lambda row: quartiles(row.timing),
        "times ours": lambda row: f"{row.timing.median / ours:.2f}",
        "error": lambda row: f"{row.error:.1e}",
    }
    console.print(table(_case(result), result.rows, columns))
    for name, reason in result.left_out.items():
        console.say(f"{name}: {reason}")
    if peer := result.fastest_peer:
        console.print(f"ours: {ours / peer.timing.median:.2f}x the time of the fastest peer, {peer.name}")
    _print_profile(result.profile, console)
    console.print(f"{result.flops / 1e6:.1f} of {result.traced_flops / 1e6:.1f} MFLOP are left after pruning")
    if result.floor is not None:
        floor = milliseconds(result.floor)
        console.print(
            f"floor, their time at the measured peak: {floor}; ours is {ours / result.floor:.1f} times that"
        )


def _print_stream(result: StreamResult, console: Output) -> None:
    from temport.exporter.bench.model_stream import WINDOW

    step, window = result.step.median, result.window.median
    columns = {
        "": lambda row: row[0],
        "median": lambda row: milliseconds(row[1].median),
        "quartiles": lambda row: quartiles(row[1]),
    }
    title = f"{result.arch}, frame by frame, batch 1, threads {result.threads}"
    rows = [("one frame", result.step), (f"window of {WINDOW} frames, pruned", result.window)]
    console.print(table(title, rows, columns))
    console.print(f"one frame: 1/{window / step:.1f} of the window")
    _print_profile(result.profile, console)
    weights = f"{result.weight_bytes / 1e6:.1f} MB of weights at the measured {result.read_bandwidth / 1e9:.0f} GB/s"
    floor = milliseconds(result.floor)
    console.print(f"floor, reading {weights}: {floor}; ours is {step / result.floor:.1f} times that")


def _print_profile(profile: dict[str, float], console: Output) -> None:
    whole = sum(profile.values())
    shown = list(profile.items())[:PROFILE_SHOWN]
    if others := len(profile) - len(shown):
        shown.append((f"{others} others", whole - sum(spent for _, spent in shown)))
    columns = {
        "operator": lambda row: row[0],
        "microseconds": lambda row: f"{row[1]:.0f}",
        "share": lambda row: f"{row[1] / whole:.0%}",
    }
    console.print(table("profile of ours", shown, columns))
