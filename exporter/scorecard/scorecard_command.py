"""The command `temport scorecard`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temport.exporter.bench.options import Seconds
from temport.exporter.bench.tables import Output
from temport.exporter.bundle.options import Digest, Strict
from temport.exporter.runtimes.options import Runners, Runtimes


def scorecard(
    bundle: Annotated[Path, typer.Argument(help="A bundle that `temport export` wrote.")],
    runtime: Runtimes = None,
    runner: Runners = None,
    seconds: Seconds = 2.0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for scorecard.html, .json and .md. Default: only print."),
    ] = None,
    keep_verdicts: Annotated[
        bool,
        typer.Option(
            "--keep-verdicts", help="Take the verdicts of the bundle's own report, and run no parity."
        ),
    ] = False,
    module: Annotated[
        str | None, typer.Option(help="The module or file that it was made of, as of `temport parity`.")
    ] = None,
    trend: Annotated[
        Path | None, typer.Option(help="Add one line of JSON to this file: what ran, where, and how fast.")
    ] = None,
    digest: Digest = None,
    strict: Strict = False,
) -> None:
    """Every runtime of a bundle side by side: right or wrong, how fast, how large; exit code 1 where one is wrong.

    Each runtime runs on one thread in a process of its own; they take turns, and wait while another runs.
    """
    from temport.exporter.bundle.directory import open_bundle
    from temport.exporter.files import check_folder
    from temport.exporter.progress import Progress
    from temport.exporter.runtimes.ssh import runners
    from temport.exporter.scorecard.files import add_to_trend, write
    from temport.exporter.scorecard.run import scorecard as measured
    from temport.exporter.scorecard.table import print_card

    console = Output()
    opened = open_bundle(bundle, digest, strict=strict)
    for path in (out, trend and trend.parent):
        check_folder(path)
    with runners(runner or ()) as there, Progress(console) as progress:
        card = measured(
            opened,
            tuple(runtime or ()),
            there,
            progress,
            seconds=seconds,
            source=module,
            keep_verdicts=keep_verdicts,
        )
    if out is not None:
        write(card, out)
    if trend is not None:
        add_to_trend(card, trend)
    print_card(card, console)
    raise typer.Exit(0 if card.passed else 1)
