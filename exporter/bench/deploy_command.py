"""The command `temport bench deploy`."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path
from typing import Annotated

import typer

from temport.exporter.bench.tables import Output, table
from temport.exporter.bundle.options import Digest, Strict
from temport.exporter.errors import UserError


def bench_deploy(
    bundle: Annotated[Path, typer.Argument(help="A bundle of whole windows or a step model.")],
    runner: Annotated[Path | None, typer.Option(help="temport-run. Default: as `cpp` is found.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Batches of each, in turns.")] = 11,
    frames: Annotated[int, typer.Option(min=1, help="Inferences per batch.")] = 300,
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.")] = 1,
    allocations: Annotated[
        Path | None,
        typer.Option(help="temport_allocations of the preset test, to count what an inference allocates."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("bench-deploy.json"),
    digest: Digest = None,
    strict: Strict = False,
) -> None:
    """The C++ library against ONNX Runtime in Python: latency of one inference, in turns, on the same kernels."""
    from temport.exporter.bench.deploy import RUNNER, compare
    from temport.exporter.bundle.directory import open_bundle
    from temport.exporter.runtimes.cpp_runner import find

    found = find()
    if runner is None and found.missing is not None:
        raise UserError(found.missing)
    program = runner or Path(found.command[0])
    if shutil.which(program) is None:
        raise UserError(f"{program} is no program; see deploy/README.md for how temport-run is built")
    opened = open_bundle(bundle, digest, strict=strict)
    report = compare(opened, program, rounds=rounds, frames=frames, threads=threads, allocations=allocations)
    console = Output()
    console.print(
        table(
            f"{report.bundle}, {report.path}, {report.threads} thread(s), {rounds} x {frames} inferences",
            report.medians.items(),
            {
                "": lambda row: row[0],
                "median of rounds": lambda row: f"{statistics.median(row[1]):.1f} us",
                "fastest, slowest": lambda row: f"{min(row[1]):.1f} - {max(row[1]):.1f} us",
                f"{RUNNER} / this": lambda row: f"{report.ratio(row[0]):.3f}",
            },
        )
    )
    if report.allocations is not None:
        counts = report.allocations
        console.print(
            f"allocations per inference: {counts['ours']:g} ours, {counts['runtime']:g} by ONNX Runtime"
        )
    for library, cost in report.opening.items():
        console.print(
            f"opening a session {library} the op library: {cost.milliseconds:.2f} ms, {cost.kib:.0f} KiB"
        )
    report.write(out)
    console.print(f"written: {out}")
