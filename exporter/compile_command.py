"""The command `temport compile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temport.exporter.bundle.options import Digest, Strict
from temport.exporter.compilers.options import (
    TARGETS,
    AotPlugin,
    BuildTimeout,
    Cc,
    ComputeCapability,
    EngineIsa,
    EngineThreads,
    OptimizationLevel,
    Plugin,
    SourceOnly,
    TimingCache,
    ToolchainFile,
    WorkspaceMib,
)


def compile_bundle(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle that `temport export` wrote.")],
    target: Annotated[str, typer.Option(help=f"The engine: {TARGETS}")],
    compute_capability: ComputeCapability = None,
    optimization_level: OptimizationLevel = None,
    workspace_mib: WorkspaceMib = None,
    timing_cache: TimingCache = None,
    plugin: Plugin = None,
    aot_plugin: AotPlugin = False,
    build_timeout: BuildTimeout = 1800,
    cc: Cc = None,
    toolchain: ToolchainFile = None,
    engine_isa: EngineIsa = None,
    engine_threads: EngineThreads = 1,
    source_only: SourceOnly = False,
    module: Annotated[
        str | None,
        typer.Option(
            help="`path.py:factory` of a bundle that was made of one, for a form of a module. Default: the file."
        ),
    ] = None,
    digest: Digest = None,
    strict: Strict = False,
) -> None:
    """Add an engine to a bundle, without its sources; exit code 1 when a recorded input gives something else in it."""
    from temport.exporter.asked import OPTIONS, request_of, typed_in
    from temport.exporter.compile_bundle import run_compile

    asked = request_of(
        {name: value for name, value in typed_in(context).items() if name in OPTIONS and name != "module"}
    )
    passed = run_compile(bundle, target, asked.compile, source=module, digest=digest, strict=strict)
    raise typer.Exit(0 if passed else 1)
