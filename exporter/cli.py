"""The `temport` command. Each subcommand imports what it needs, so that `--help` is instant."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from temport.exporter.bench.deploy_command import bench_deploy
from temport.exporter.bench.drift_command import bench_drift
from temport.exporter.bench.engine_command import bench_engine
from temport.exporter.bench.engines_command import bench_engines
from temport.exporter.bench.gpu_command import bench_gpu
from temport.exporter.bench.loss_command import bench_loss
from temport.exporter.bench.model_command import bench_model
from temport.exporter.bench.modules_command import bench_modules
from temport.exporter.bench.ops_command import bench_ops
from temport.exporter.bench.streams_command import bench_streams
from temport.exporter.bench.weights_command import bench_weights
from temport.exporter.bundle.options import Digest, Strict
from temport.exporter.certify.certify_command import certify
from temport.exporter.command import VERBOSE, Guarded, run
from temport.exporter.compile_command import compile_bundle
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
from temport.exporter.diff_command import diff
from temport.exporter.errors import UserError
from temport.exporter.fleet.fleet_command import fleet
from temport.exporter.fleet.rate_command import bench_fleet
from temport.exporter.logs import listen
from temport.exporter.report.report_command import report
from temport.exporter.runtimes.options import Runners, Runtimes
from temport.exporter.runtimes.runtimes_command import runtimes
from temport.exporter.scorecard.scorecard_command import scorecard
from temport.exporter.serve.triton_command import triton
from temport.exporter.show.show_command import show

app = typer.Typer(
    name="temport",
    cls=Guarded,
    help="Temporal attention models, from torch to every runtime.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench = typer.Typer(help="Measure side by side, interleaved.", no_args_is_help=True)
app.add_typer(bench, name="bench")
app.add_typer(fleet, name="fleet")
app.add_typer(runtimes, name="runtimes")
bench.command("ops")(bench_ops)
bench.command("model")(bench_model)
bench.command("modules")(bench_modules)
bench.command("gpu")(bench_gpu)
bench.command("fleet")(bench_fleet)
bench.command("engine")(bench_engine)
bench.command("engines")(bench_engines)
bench.command("deploy")(bench_deploy)
bench.command("streams")(bench_streams)
bench.command("drift")(bench_drift)
bench.command("weights")(bench_weights)
bench.command("loss")(bench_loss)
app.command("certify")(certify)


def _print_version(wanted: bool) -> None:
    if wanted:
        from temport.exporter.version import version

        typer.echo(f"temport {version()}")
        raise typer.Exit


@app.callback()
def temport(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Show every pass, and the trace of what fails before the sentence."
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show results and errors alone, no progress.")
    ] = False,
) -> None:
    """Temporal attention models, from torch to every runtime."""
    if verbose and quiet:
        raise UserError("give -v or -q, not both")
    end = listen(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    context.call_on_close(end)
    if verbose:
        os.environ[VERBOSE] = "1"


Arch = Annotated[str | None, typer.Option(help="Architecture; `temport list` names them.")]
Inputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--input", help="Real input as .npz, .npy or .csv, added to the generated cases; repeatable."
    ),
]


@app.command()
def export(
    context: typer.Context,
    arch: Arch = None,
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
            help="fp16, int8 or int4: what weights of dense and recurrent layers are stored in. Default: as they are."
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
            help="int8: inputs of dense layers with int8 weights are rounded too. Default: they are not."
        ),
    ] = None,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(help="Recorded inputs that --activations is fitted to: .npz, .npy or .csv; repeatable."),
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


@app.command("list")
def list_architectures(
    arch: Annotated[str | None, typer.Argument(help="Show this one's options.")] = None,
) -> None:
    """List the architectures and the runtimes, or the options of one architecture."""
    from temport.exporter.listing import print_all, print_options

    if arch is None:
        print_all()
    else:
        print_options(arch)


@app.command()
def parity(
    bundle: Annotated[Path, typer.Argument(help="A bundle that `temport export` wrote.")],
    runtime: Runtimes = None,
    input_file: Inputs = None,
    runner: Runners = None,
    out: Annotated[
        Path | None, typer.Option(help="Write report.json and report.html here. Default: only print.")
    ] = None,
    module: Annotated[
        str | None,
        typer.Option(
            help="The module or file that it was made of, path.py:factory. Default: replay what was recorded."
        ),
    ] = None,
    digest: Digest = None,
    strict: Strict = False,
) -> None:
    """Repeat the parity check of an existing bundle; exit code 1 when a runtime fails."""
    from temport.exporter.recheck import run_parity_of_bundle
    from temport.exporter.runtimes.ssh import runners

    with runners(runner or ()) as opened:
        passed = run_parity_of_bundle(
            bundle,
            tuple(runtime or ()),
            tuple(input_file or ()),
            out,
            opened,
            source=module,
            digest=digest,
            strict=strict,
        )
    raise typer.Exit(0 if passed else 1)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle that `temport export` wrote.")],
    module: Annotated[
        str | None,
        typer.Option(
            help="The module that it was made of, path.py:factory. Default: compare the function bodies alone."
        ),
    ] = None,
    digest: Digest = None,
    strict: Strict = False,
) -> None:
    """Make the model of a bundle anew and compare; exit code 1 when it differs."""
    from temport.exporter.verify import run_verify

    raise typer.Exit(0 if run_verify(bundle, module, digest=digest, strict=strict) else 1)


app.command("compile")(compile_bundle)
app.command("diff")(diff)
app.command("report")(report)
app.command("scorecard")(scorecard)
app.command("show")(show)
app.command("triton")(triton)


def main() -> None:
    """Entry point; exit codes as in `temport.exporter.command`."""
    run(app)


def export_main() -> None:
    """The `export` command: another name of `temport export`, which is how it calls itself."""
    sys.argv[1:1] = ["export"]
    run(app)
