"""What the library says of its progress: `logging` under the name "temport", silent until somebody listens.

Steps are INFO, passes DEBUG, and what a report warns of is WARNING, which Python shows where nobody listens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from temport.exporter.terminal import Terminal

LOG = logging.getLogger("temport")


class _Lines(logging.Handler):
    """Each record as a line of the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        Terminal().print(self.format(record), soft_wrap=True)


def listen(level: int) -> Callable[[], None]:
    """What the command does: print from `level` on, until what is returned is called."""
    handler, before = _Lines(), LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(level)

    def end() -> None:
        LOG.removeHandler(handler)
        LOG.setLevel(before)

    return end
