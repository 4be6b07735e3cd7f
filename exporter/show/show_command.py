"""The command `temport show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temport.exporter.bench.tables import Output
from temport.exporter.bundle.options import Digest, Strict


def show(
    bundle: Annotated[Path, typer.Argument(help="A bundle that `temport export` wrote.")],
    time: Annotated[
        bool, typer.Option("--time", help="Also time every node, by ONNX Runtime's profiler.")
    ] = False,
    errors: Annotated[
        bool, typer.Option(help="Measure the error of every tensor against the graph in float64.")
    ] = True,
    runtime: Annotated[
        str, typer.Option(help="Where errors are measured: one that shows tensors inside the graph.")
    ] = "onnxruntime_cpu",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for show.html, show.json and show.onnx, which Netron opens. Default: only print."
        ),
    ] = None,
    digest: Digest = None,
    strict: Strict = False,
) -> None:
    """What is in a bundle: signature, memory, and each node with its work, bytes, time and error."""
    from temport.exporter.bundle.directory import open_bundle
    from temport.exporter.show.files import check, write
    from temport.exporter.show.run import shown
    from temport.exporter.show.text import print_shown

    opened = open_bundle(bundle, digest, strict=strict)
    if out is not None:
        check(opened, out)
    found = shown(opened, time=time, runtime=runtime if errors else "")
    if out is not None:
        write(opened, found, out)
    print_shown(found, Output())
