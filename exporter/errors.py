"""The exceptions that a user is meant to read."""

from __future__ import annotations

import contextlib
import difflib
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from temport.plugins import first_line

_LIBRARIES = tuple(str(Path(sysconfig.get_path(name))) for name in ("stdlib", "purelib", "platlib"))
_OURS = str(Path(__file__).parents[1])


class UserError(Exception):
    """Bad input: one sentence that says what was wrong and what would be right. The CLI exits with 2."""

    exit_code = 2


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
    """The last of the frames that is in a user's own file: ` (file, line n: code)`; empty where none is."""
    own = [f for f in frames if not f.filename.startswith((*_LIBRARIES, _OURS, "<")) and f.lineno]
    if not own:
        return ""
    code = f": {own[-1].line}" if own[-1].line else ""
    return f" ({own[-1].filename}, line {own[-1].lineno}{code})"
