"""Graphs of torch.fx, compiled where somebody calls them.

Each time a graph is made or changed its Python source is written and compiled, about fifteen times in an export, and
nearly nobody calls it: a tenth of the time of a small trace. torch has graphs that wait for their first call, behind a
flag of its own.
"""

from __future__ import annotations

import contextlib

from temport.exporter.trace.replaced import replaced

MODULE, FLAG = "torch.fx._lazy_graph_module", "_use_lazy_graph_module_flag"


def graphs_compiled_when_called() -> contextlib.AbstractContextManager[None]:
    """While it lasts, a traced graph is compiled at its first call."""
    return replaced(MODULE, FLAG, lambda before: True)
