"""From a command to an exit code: what a script may rely on, whatever happens."""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from temport.exporter.errors import UserError
from temport.exporter.terminal import printable

DISAGREES, BAD_INPUT, FAULT, LOST_OUTPUT, INTERRUPTED = 1, 2, 70, 74, 130
"""Exit codes beside 0. A runtime disagrees; the input is wrong; temport itself is; what was printed did not get out
(70 and 74 as BSD's sysexits.h has them); Ctrl-C."""
YOUNG = 50_000
"""Objects that are made before the collector looks through them; at Python's 700 it is a tenth of an export."""
VERBOSE = "TEMPORT_VERBOSE"
"""Environment variable: also print the trace of what failed; `--verbose` sets it."""


class Guarded(TyperGroup):
    """A group of commands in which whatever goes wrong is one sentence on stderr and an exit code of its own."""

    def invoke(self, ctx: Any) -> Any:
        code = 0
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except UserError as error:
            code = _told(str(error), error.exit_code)
        except KeyboardInterrupt:
            code = _told("interrupted", INTERRUPTED)
        except OSError as error:
            code = _of_the_system(error)
        except Exception as error:
            if hasattr(error, "format_message"):  # wrong usage, which typer prints itself
                raise
            code = _fault(error)
        raise typer.Exit(code)


def run(app: typer.Typer) -> None:
    """Run the command and end the process with its exit code, after what it printed has got out."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no sign for a tick is no error
    gc.set_threshold(YOUNG, 20, 50)
    code: Any = 0
    try:
        app(prog_name="temport")
    except SystemExit as ending:
        code = ending.code
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        code = _lost(error)
    sys.exit(code)


def _of_the_system(error: OSError) -> int:
    if error.filename is not None:
        return _told(f"{error.filename}: {error.strerror}", BAD_INPUT)
    return _lost(error) if error.errno in (errno.EPIPE, errno.ENOSPC, errno.EIO) else _fault(error)


def _fault(error: Exception) -> int:
    kind = type(error).__name__
    text = " ".join(str(error).split())[:300]
    return _told(
        f"this is a fault of temport, please report it ({kind}: {text}); --verbose shows where", FAULT
    )


def _lost(error: Exception) -> int:
    """Nobody reads on, or the disk is full; Python would complain once more when it closes the stream."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _told(f"the output did not get out: {error}", LOST_OUTPUT)


def _told(sentence: str, code: int) -> int:
    with contextlib.suppress(OSError):
        if os.environ.get(VERBOSE) and sys.exc_info()[0] is not None:
            traceback.print_exc()
        typer.echo(f"error: {printable(sentence)}", err=True)
    return code
