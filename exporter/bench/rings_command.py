"""The command `temport bench rings`."""

from __future__ import annotations

from typing import Annotated

import typer

from temport.exporter.bench.options import Seconds

LONG = ("embed_dim=256", "window_size=512", "num_heads=8", "num_layers=2")


def bench_rings(
    arch: Annotated[str, typer.Option(help="Architecture.")] = "sliding_window",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help=f"Architecture option key=value. Default: {', '.join(LONG)}."),
    ] = None,
    seq: Annotated[int, typer.Option(help="Horizon of attention without a window.")] = 60,
    seconds: Seconds = 1.0,
) -> None:
    """Rings of keys and values in float16 (--kv-dtype fp16): bytes of state, time of one frame, and error against what
    the file says, beside float32, interleaved on one thread.
    """
    from temport.exporter.bench.rings import run
    from temport.exporter.bench.tables import Output

    run(arch, tuple(settings or LONG), seq, seconds, Output())
