"""The exceptions that a user is meant to read."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: one sentence that says what was wrong and what would be right. The CLI exits with 2."""

    exit_code = 2


class Interrupted(UserError):
    """Ctrl-C or SIGTERM while something was being written; exit code as the shell's for SIGINT."""

    exit_code = 130


def known_names(name: str, known: Iterable[str]) -> str:
    """What to say of a name that is not known: the nearest one that is, and all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}known: {', '.join(known)}"
