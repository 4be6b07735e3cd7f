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
from temport.exporter.bench.rings_command import bench_rings
from temport.exporter.bench.streams_command import bench_streams
from temport.exporter.bench.weights_command import bench_weights
from temport.exporter.bundle.options import Digest, Strict
from temport.exporter.certify.certify_command import certify
from temport.exporter.command import VERBOSE, Guarded, run
from temport.exporter.compile_command import compile_bundle
from temport.exporter.diff_command import diff
from temport.exporter.errors import UserError
from temport.exporter.export_command import Inputs, export
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
bench.command("rings")(bench_rings)
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


app.command()(export)


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
