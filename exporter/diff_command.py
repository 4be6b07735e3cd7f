"""The command `temport diff`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def diff(
    before: Annotated[Path, typer.Argument(help="A bundle, a report.json or a scorecard.json.")],
    after: Annotated[Path, typer.Argument(help="Another one.")],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit with 1 where AFTER is another one or worse in this: signature, weights, graph, passes, "
            "verdicts, size or speed; repeatable. Default: signature and verdicts."
        ),
    ] = None,
    speed: Annotated[
        bool, typer.Option("--speed", help="Also run both bundles in turns, and compare their times.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="What shares, sizes and times may grow before they are worse: 0.1 is 10 %.")
    ] = 0.1,
    out: Annotated[Path | None, typer.Option(help="Write what differs into this file, as JSON.")] = None,
) -> None:
    """Say what differs between two bundles, reports or scorecards; exit code 1 where the second is worse than told."""
    from temport.exporter.bench.two_bundles import fastest
    from temport.exporter.difference import run_diff

    passed = run_diff(before, after, fail_on, tolerance, fastest if speed else None, out)
    raise typer.Exit(0 if passed else 1)
