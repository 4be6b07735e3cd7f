"""Patterns of several outputs, searched where their first node is.

For such a pattern onnxscript sorts the whole graph by operators at every node of it, and only then looks at the node: a
third of the optimiser's time for 400 nodes, and growing with their square.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from temport.exporter.trace.replaced import replaced

MODULE, MATCH = "onnxscript.rewriter._matcher", "SimplePatternMatcher.match"


def patterns_of_several_outputs_searched_at_their_node() -> contextlib.AbstractContextManager[None]:
    """While it lasts, a node of another operator than the pattern's first output is no match at once."""
    return replaced(MODULE, MATCH, _at_its_node)


def _at_its_node(match: Callable[..., Any]) -> Callable[..., Any]:
    from onnxscript.rewriter._basics import MatchResult

    def at(self: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        if not self.pattern.has_single_output_node:
            first = self.pattern.output_nodes[0].op_identifier()
            if first is not None and first != node.op_identifier():
                return MatchResult().fail("No match found.")
        return match(self, model, graph, node, **options)

    return at
