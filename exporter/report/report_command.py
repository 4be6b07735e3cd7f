"""The command `temport report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from temport.exporter.errors import UserError


def report(
    path: Annotated[Path, typer.Argument(help="A bundle, or a report.json.")],
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML into this file.")] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(help="Add a markdown summary to this file, such as $GITHUB_STEP_SUMMARY."),
    ] = None,
) -> None:
    """Show a parity report, and write it for machines; exit code 1 where it says that a runtime fails."""
    from temport.exporter.bundle.directory import open_bundle
    from temport.exporter.parity.serial import read_json
    from temport.exporter.report.junit import junit as as_junit
    from temport.exporter.report.markdown import markdown as as_markdown
    from temport.exporter.report.table import print_table

    found = read_json(open_bundle(path).path / "report.json" if path.is_dir() else path)
    try:
        if junit is not None:
            junit.write_text(as_junit(found), encoding="utf-8")
        if markdown is not None:
            with markdown.open("a", encoding="utf-8") as file:
                file.write(as_markdown(found))
    except OSError as error:
        raise UserError(f"{error.filename} cannot be written: {error.strerror}") from error
    print_table(found)
    raise typer.Exit(0 if found.passed else 1)
