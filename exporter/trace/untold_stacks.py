"""Nodes of a trace without the lines of Python that they come from.

torch takes the stack at every operator and reads the source of each frame, up to a tenth of the time of a trace. It
goes into the metadata of the nodes, with paths of this machine, which `clean` takes away.
"""

from __future__ import annotations

import contextlib

from temport.exporter.trace.replaced import replaced

MODULE, STACK = "torch.fx.proxy", "CapturedTraceback"
"""What takes the stack where a node is made, and nowhere else: errors still have theirs."""


def nodes_made_without_stacks() -> contextlib.AbstractContextManager[None]:
    """While it lasts, a node is told no stack."""
    return replaced(MODULE, STACK, lambda before: _NoStack)


class _NoStack:
    @staticmethod
    def extract() -> type[_NoStack]:
        return _NoStack

    @staticmethod
    def summary() -> tuple[()]:
        """As of a node that no user's code made."""
        return ()
