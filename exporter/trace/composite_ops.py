"""torch's composite ops, looked up once in an export.

To decompose a trace, torch.export asks its registry for every composite op 56 times over, a third of the time of a
small export. Nothing registers an op in between: the module has run by then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from temport.exporter.trace.replaced import replaced

MODULE, LOOK_UP = "torch._export.utils", "_materialize_cpp_cia_ops"
"""The function that makes every registered composite op known to Python."""


def composite_ops_looked_up_once() -> contextlib.AbstractContextManager[None]:
    """While it lasts, only the first look-up is made."""
    return replaced(MODULE, LOOK_UP, _first_time)


def _first_time(look_up: Callable[[], None]) -> Callable[[], None]:
    known = False

    def once() -> None:
        nonlocal known
        if not known:
            look_up()
            known = True

    return once
