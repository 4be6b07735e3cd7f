"""The exceptions that a user is meant to read."""

from __future__ import annotations

import contextlib
import difflib
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from temport.plugins import first_line

_STDLIB = sysconfig.get_path("stdlib")
_OURS = str(Path(__file__).parents[1])
_MACHINERY = frozenset({"torch", "onnx", "onnx_ir", "onnxscript", "numpy", "temport"})


class UserError(Exception):
    """Bad input: one sentence that says what was wrong and what would be right. The CLI exits with 2."""

    exit_code = 2


class NotForThisMachine(UserError):
    """An engine is for another machine, or another version of what runs it. Nothing of it can be told here."""


class Interrupted(UserError):
    """Ctrl-C or SIGTERM while something was being written; exit code as the shell's for SIGINT."""

    exit_code = 130


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not there: the nearest one, and all that are."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"{f'did you mean {close[0]}? ' if close else ''}known: {', '.join(names)}"


@contextlib.contextmanager
def users_code(what: str, advice: Callable[[BaseException], str] | None = None) -> Iterator[None]:
    """Whatever a user's own code raises inside is one sentence that begins with `what` and names their own line.

    advice  what to add for an exception: the way out
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        way = advice(error) if advice is not None else ""
        raise UserError(f"{what}: {told(error)}{way}") from error


def told(error: BaseException) -> str:
    """What was raised at the root of `error`, and where in the user's own files, if it was there."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, UserError):
        return str(error)
    return f"{first_line(error)}{own_line(traceback.extract_tb(error.__traceback__))}"


def own_line(frames: Iterable[traceback.FrameSummary]) -> str:
    """The last of the frames that is in a user's own file: ` (file, line n: code)`; empty where none is.

    Where it calls a package, the last line there too: a model of a package fails in lines that a user did not write.
    """
    told = [f for f in frames if f.lineno and not _is_machinery(f.filename)]
    own = [f for f in told if not _packages(f.filename)]
    places = [_place(f) for f in (*own[-1:], *(told[-1:] if told[-1:] != own[-1:] else []))]
    return f" ({'; in '.join(places)})" if places else ""


def _place(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename}, line {frame.lineno}{f': {frame.line}' if frame.line else ''}"


def _packages(file: str) -> tuple[str, ...]:
    """Where a file of an installed distribution lies in it; empty for any other file."""
    parts = Path(file).parts
    folder = next((i for i, part in enumerate(parts) if part in ("site-packages", "dist-packages")), None)
    return () if folder is None else parts[folder + 1 :]


def _is_machinery(file: str) -> bool:
    """Whether a file is Python's, ours or of what runs a model: its lines tell nothing about a model."""
    if installed := _packages(file):
        return installed[0] in _MACHINERY
    return file.startswith((_STDLIB, _OURS, "<"))
