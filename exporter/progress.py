"""One line that says what is being done, and for how long; silent where nobody listens."""

from __future__ import annotations

import logging
import time
from typing import Self

from rich.console import Console

from temport.exporter.logs import LOG

SECONDS_BETWEEN_DETAILS = 10


class Progress:
    """A status line on a terminal; on anything else (a log, CI) and among lines of DEBUG one INFO per step."""

    def __init__(self, console: Console) -> None:
        shown = console.is_terminal and not console.quiet and LOG.isEnabledFor(logging.INFO)
        self.status = console.status("") if shown and not LOG.isEnabledFor(logging.DEBUG) else None
        self.started = self.told = time.monotonic()

    def __enter__(self) -> Self:
        if self.status is not None:
            self.status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.status is not None:
            self.status.stop()

    def step(self, what: str) -> None:
        """Announce the next step."""
        self.told = time.monotonic()
        text = f"[{time.monotonic() - self.started:5.1f} s] {what}"
        if self.status is not None:
            self.status.update(text)
        else:
            LOG.info(text)

    def detail(self, what: str) -> None:
        """Say more about a long step: always on a terminal, now and then in a log."""
        if self.status is not None or time.monotonic() - self.told > SECONDS_BETWEEN_DETAILS:
            self.step(what)

    def parity(self, what: str, step: int, steps: int) -> None:
        """Announce one runtime of a parity run."""
        self.step(f"parity: {what} ({step}/{steps})")
