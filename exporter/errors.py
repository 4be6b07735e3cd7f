"""The exceptions that a user is meant to read."""


class UserError(Exception):
    """Bad input: one sentence that says what was wrong and what would be right. The CLI exits with 2."""

    exit_code = 2


class Interrupted(UserError):
    """Ctrl-C or SIGTERM while something was being written; exit code as the shell's for SIGINT."""

    exit_code = 130
