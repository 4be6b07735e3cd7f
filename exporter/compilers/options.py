"""What every command takes that compiles an engine, by the names of `CompileOptions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temport.exporter.compilers.targets import FORMS

TARGETS = (
    "native (a C++ library without a runtime), tensorrt-rtx (no GPU needed), tensorrt, or the form of another runtime: "
    f"{', '.join(FORMS)}."
)
ComputeCapability = Annotated[
    list[str] | None, typer.Option(help="GPU that the engine is for, such as 89; repeatable.")
]
OptimizationLevel = Annotated[int | None, typer.Option(help="0 to 5: engine build time against run time.")]
WorkspaceMib = Annotated[int | None, typer.Option(help="Limit of the engine's scratch memory, MiB.")]
TimingCache = Annotated[
    Path | None, typer.Option(help="Timing cache read before and written after the build.")
]
Plugin = Annotated[
    Path | None, typer.Option(help="Our TensorRT plugin library: its kernels run instead of fused attention.")
]
AotPlugin = Annotated[
    bool,
    typer.Option(
        "--aot-plugin", help="The same kernels as PTX inside a tensorrt engine, which then needs no library."
    ),
]
BuildTimeout = Annotated[
    int, typer.Option(help="Seconds after which an engine that is not built is given up.")
]
Cc = Annotated[str | None, typer.Option(help="C++ compiler of a native engine: aarch64-linux-gnu-g++.")]
ToolchainFile = Annotated[
    Path | None,
    typer.Option(help="CMake toolchain file of a native engine: its compiler, flags, target and sysroot."),
]
EngineIsa = Annotated[
    str | None,
    typer.Option(
        help="Instructions of a native engine: avx512, avx512vnni, avx2, avx2vnni, sse42, neon, neondot, wasm or "
        "portable. Default: the machine's fastest for the model; with int8 or int4 weights one that multiplies four "
        "integers at a time, such as avx512vnni."
    ),
]
EngineThreads = Annotated[
    int,
    typer.Option(help="Parts that a native engine's large layers have, for a caller's own parallel-for."),
]
SourceOnly = Annotated[
    bool, typer.Option("--source-only", help="Write a native engine's source and compile nothing.")
]
