"""End a process that hangs: a GPU kernel that never returns cannot be interrupted from Python."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def ends_within(seconds: float, last_words: Callable[[], None]) -> Iterator[None]:
    """If the block lasts longer than `seconds`, call `last_words` and end the process with exit status 1.

    The call that hangs must not hold Python's lock; ctypes and torch give it back while they wait.
    """

    def end() -> None:
        try:
            last_words()
            sys.stdout.flush()
        finally:
            os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
