"""Nodes of a trace that are told only what an export reads.

At every operator torch takes the stack and reads the source of each frame, up to a tenth of the time of a trace; it
goes into the metadata of the nodes, with paths of this machine, which `clean` takes away. And it writes down strides
and memory format of every tensor, of which it says itself that the tensor's own are better.
"""

from __future__ import annotations

import contextlib

from temport.exporter.trace.replaced import replaced

STACK = ("torch.fx.proxy", "CapturedTraceback")
"""What takes the stack where a node is made, and nowhere else: errors still have theirs."""
LAYOUT = ("torch.fx.experimental.proxy_tensor", "_extract_tensor_metadata")


def nodes_made_without_stacks() -> contextlib.AbstractContextManager[None]:
    """While it lasts, a node is told no stack."""
    return replaced(*STACK, lambda before: _NoStack)


def nodes_made_without_layouts() -> contextlib.AbstractContextManager[None]:
    """While it lasts, a node is told its tensor and nothing else of it."""
    return replaced(*LAYOUT, lambda before: lambda tensor: None)


class _NoStack:
    @staticmethod
    def extract() -> type[_NoStack]:
        return _NoStack

    @staticmethod
    def summary() -> tuple[()]:
        """As of a node that no user's code made."""
        return ()
