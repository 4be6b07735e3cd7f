"""What the library says of its progress: `logging` under the name "temport", silent until somebody listens.

Steps are INFO, passes DEBUG, and what a report warns of is WARNING, which Python shows where nobody listens.
"""

from __future__ import annotations

import logging

from temport.exporter.terminal import Terminal

LOG = logging.getLogger("temport")


class _Lines(logging.Handler):
    """Each record as a line of the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        Terminal().print(self.format(record), soft_wrap=True)


def listen(level: int) -> None:
    """What the command does: print from `level` on."""
    for handler in [
        h for h in LOG.handlers if isinstance(h, _Lines)
    ]:  # of an earlier command in this process
        LOG.removeHandler(handler)
    LOG.addHandler(_Lines())
    LOG.setLevel(level)
