"""The command `temport export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
from temport.exporter.runtimes.options import Runtimes

Inputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--input", help="Real input as .npz, .npy or .csv, added to the generated cases; repeatable."
    ),
]


def export(
    context: typer.Context,
    arch: Annotated[str | None, typer.Option(help="Architecture; `temport list` names them.")] = None,
    seq: Annotated[
        str | None,
        typer.Option(
            help="Sequence length: 60, dynamic, or min:opt:max. Default: 60; of a file, its axis seq as it is."
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            help="Batch: 1, dynamic, or min:opt:max. Default: 1; of a file, its axis batch as it is."
        ),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Memory length of dms (keys and values). Default: as --seq.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Bundle directory. Default: bundles/ARCH-seqN.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Architecture option key=value; `temport list ARCH` shows them."),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            help="Your own torch module instead of --arch: path.py:factory, package.module:factory, or an exported "
            "program, model.pt2."
        ),
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(help="An ONNX file instead of --arch; its inputs are as it says.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Options from a TOML file, by their names: seq = 60. What is typed comes first."),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="Input of --module or --onnx by the name of forward's parameter: frames=batch,seq,24 (float32), "
            "ids:int64[0:200]=batch,seq or padding:bool[prefix,ignore]=batch,seq; observation.left=... is an entry of "
            "a dictionary. Repeatable."
        ),
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(
            help="Size of an axis of another name, of --shape or of a file: past=0:16:256. Repeatable."
        ),
    ] = None,
    output_names: Annotated[
        str | None, typer.Option(help="Names of --module's outputs: action,value. Default: their keys.")
    ] = None,
    drop_output: Annotated[
        list[str] | None, typer.Option(help="Leave out this output of --module; repeatable.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights: safetensors, or a torch checkpoint of tensors alone. Default: seeded."),
    ] = None,
    weights_prefix: Annotated[
        str, typer.Option(help="Take only the tensors under this prefix, without it: model.")
    ] = "",
    weights_layout: Annotated[
        str, typer.Option(help="Names in --weights: own, or edifice (the reference implementation's).")
    ] = "own",
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming",
            help="A step model, (frame, state) -> (output, state); `temport list` says how exact a stream is.",
        ),
    ] = False,
    delay: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of --streaming: frames that outputs may come late, for a model that looks so far ahead.",
        ),
    ] = 0,
    window: Annotated[
        int | None,
        typer.Option(
            help="Of --streaming: the model takes exactly the last N frames and masks nothing; what is made frame by "
            "frame is kept, the rest computed anew."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Of --streaming: frames per second, for the manifest; no number depends on it."),
    ] = None,
    ops: Annotated[
        str, typer.Option(help="custom: temport nodes with function bodies; standard: ai.onnx only.")
    ] = "custom",
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16 or bf16: what matrix products and attention compute in. Default: as the module's weights."
        ),
    ] = None,
    weights_dtype: Annotated[
        str | None,
        typer.Option(
            help="fp16, int8, int4 or fp8: what weights of dense and recurrent layers are stored in. Default: as they "
            "are."
        ),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            help="How far --weights-dtype may move an output, as a share of its largest value; layers that do more "
            "harm get more bits."
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="What --max-loss bounds instead: FILE.py:NAME or package.module:NAME, a function of the compressed "
            "and the trained model's outputs that returns a loss."
        ),
    ] = None,
    activations: Annotated[
        str | None,
        typer.Option(
            help="int8 or fp8: inputs of dense layers with such weights are rounded too. Default: they are not."
        ),
    ] = None,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(help="Recorded inputs that --activations is fitted to: .npz, .npy or .csv; repeatable."),
    ] = None,
    kv_dtype: Annotated[
        str | None,
        typer.Option(
            help="Of --streaming: fp16 keeps keys and values of attention in float16, half the bytes to read at every "
            "frame. Default: float32."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help=f"Also compile an engine: {TARGETS}")] = None,
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
    opset: Annotated[
        int | None, typer.Option(help="ai.onnx opset, 18 to 24. Default: 20; of an ONNX file, its own.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Leave out this pass of the export, such as prune; repeatable.")
    ] = None,
    no_prune: Annotated[
        bool, typer.Option("--no-prune", help="Compute every position: the same as --without prune.")
    ] = False,
    keep_passes: Annotated[
        Path | None, typer.Option(help="Write the graph as traced and after each pass into this directory.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seeds initial weights and parity inputs.")] = 0,
    runtime: Runtimes = None,
    input_file: Inputs = None,
    external_data: Annotated[
        bool,
        typer.Option(
            "--external-data",
            help="Write weights beside the model (over 2 GiB), and read those of --onnx there.",
        ),
    ] = False,
) -> None:
    """Write a bundle: one ONNX file, manifest, replayable vectors and a parity report over every runtime."""
    from temport.exporter.asked import request_of, typed_in
    from temport.exporter.export import run_export

    typed = typed_in(context)
    typed.pop("config", None)
    if typed.pop("no-prune", False):
        typed["without"] = [*typed.get("without", ()), "prune"]
    request = request_of(typed, config)
    raise typer.Exit(0 if run_export(request).passed else 1)
