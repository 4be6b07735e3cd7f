"""The command `temport triton`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer

from temport.exporter.bundle.options import Digest, Strict
from temport.exporter.errors import UserError


def triton(
    bundle: Annotated[Path, typer.Argument(help="A bundle that `temport export` wrote.")],
    out: Annotated[Path, typer.Option(help="The model repository; models already there stay.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the model. Default: the bundle's directory.")
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="onnxruntime or tensorrt; repeatable. Default: onnxruntime, and tensorrt where there is an engine."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or gpu, for onnxruntime.")] = "cpu",
    instances: Annotated[int, typer.Option(help="Copies of the model per device.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of each copy (onnxruntime).")] = 1,
    queue_delay_us: Annotated[
        int, typer.Option(help="How long a request may wait for others to share its batch.")
    ] = 500,
    ops_library: Annotated[
        str | None, typer.Option(help="Op library (onnxruntime), as the server sees its path.")
    ] = None,
    streams: Annotated[int, typer.Option(help="Step models: streams open at once; further ones wait.")] = 64,
    idle_seconds: Annotated[
        float, typer.Option(help="Step models: a stream without a frame for so long is forgotten.")
    ] = 60.0,
    digest: Digest = None,
    strict: Strict = False,
) -> None:
    """Write a bundle into a Triton Inference Server model repository, one model per backend."""
    from temport.exporter.bundle.directory import open_bundle
    from temport.exporter.serve.triton import ENGINE, Serving, check_target, write_repository

    opened = open_bundle(bundle, digest, strict=strict)
    first = name or re.sub(r"[^A-Za-z0-9_.-]", "_", bundle.resolve().name).lstrip(".")
    backends = backend or ["onnxruntime", *(["tensorrt"] if opened.file(ENGINE) else [])]
    if len(set(backends)) != len(backends):
        raise UserError("--backend names the same one twice; name each once")
    models = {}
    for chosen in backends:
        engine = chosen == "tensorrt"
        beside = engine and len(backends) > 1  # the options of onnxruntime are meant for the other model
        models[f"{first}-tensorrt" if beside else first] = Serving(
            chosen,
            instances,
            "gpu" if engine else device,
            threads,
            queue_delay_us,
            None if beside else ops_library,
            streams,
            idle_seconds,
        )
    for model, serving in models.items():
        check_target(opened, out, model, serving)
    written: list[Path] = []
    try:
        for model, serving in models.items():
            written.append(write_repository(opened, out, model, serving))
    except BaseException:
        for target in written:
            shutil.rmtree(target)
        raise
    for target in written:
        typer.echo(f"wrote {target}")
