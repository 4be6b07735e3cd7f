"""The command `temport bench weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temport.exporter.bench.options import Seconds


def bench_weights(
    arch: Annotated[list[str] | None, typer.Option(help="Architecture; repeatable. Default: mega.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Architecture option key=value.")
    ] = None,
    seq: Annotated[int, typer.Option(help="Length of a window, and horizon of a stream.")] = 60,
    engine_isa: Annotated[
        str | None,
        typer.Option(
            help="Instruction set of native engines (that of the op library: TEMPORT_ISA). Default: the fastest."
        ),
    ] = None,
    seconds: Seconds = 1.0,
    out: Annotated[
        Path | None, typer.Option(help="Also write the tables as JSON, and a picture beside it.")
    ] = None,
) -> None:
    """Weights in fewer bits, and activations rounded to int8: size of the file, time of a window and of one frame, and
    error against what the file says, beside ONNX Runtime, OpenVINO and quantize_dynamic, interleaved on one thread.
    """
    from temport.exporter.bench.tables import Output
    from temport.exporter.bench.weights import run

    run(tuple(arch or ("mega",)), tuple(settings or ()), seq, seconds, out, Output(), engine_isa)
