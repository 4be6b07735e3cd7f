"""The exceptions that a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
