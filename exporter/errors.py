"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Bad input: one sentence that says what was wrong and what would be right. The CLI exits with 2."""
