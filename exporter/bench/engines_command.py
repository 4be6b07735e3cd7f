"""The command `temport bench engines`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench_engines(
    arch: Annotated[list[str] | None, typer.Option(help="Architecture; repeatable. Default: all.")] = None,
    length: Annotated[list[int] | None, typer.Option(help="--seq; repeatable. Default: 60 and 512.")] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="fp32, fp16 or bf16; repeatable. Default: fp32 and fp16.")
    ] = None,
    batch: Annotated[
        list[str] | None, typer.Option(help="--batch; repeatable. Default: 1 and dynamic.")
    ] = None,
    weights_dtype: Annotated[
        list[str] | None,
        typer.Option(
            help="Of float32 models with stored weights: float32, fp16, int8, int4 or fp8; repeatable."
        ),
    ] = None,
    streaming: Annotated[bool, typer.Option("--streaming", help="Step models instead of windows.")] = False,
    target: Annotated[str, typer.Option(help="tensorrt-rtx (no GPU needed) or tensorrt.")] = "tensorrt-rtx",
    out: Annotated[Path | None, typer.Option(help="Also write the table as JSON.")] = None,
) -> None:
    """Compile every architecture for TensorRT and print a table: layers, attention, masks, seconds, size."""
    from temport.exporter.bench.engines import BATCHES, plan, run
    from temport.exporter.compilers.contract import CompileOptions
    from temport.exporter.compilers.targets import ready_backend

    ready_backend(target, CompileOptions())
    cases = plan(
        tuple(arch or ()), tuple(length or (60, 512)), tuple(precision or ("fp32", "fp16")),
        tuple(batch or BATCHES), streaming, tuple(weights_dtype or ()),
    )  # fmt: skip
    run(cases, target, out, typer.echo)
