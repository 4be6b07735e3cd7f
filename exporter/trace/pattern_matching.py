"""Rewriting patterns of single operators and of several, tried where their operator is.

onnxscript tries every pattern of its optimiser at every node, and a pattern of several outputs sorts the whole graph by
operators before it looks at the node: a third of the optimiser's time for 400 nodes, and growing with their square.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from temport.exporter.trace.replaced import replaced

MODULE, TRY = "onnxscript.rewriter._rewrite_rule", "RewriteRule.try_rewrite"


def patterns_tried_at_their_operator() -> contextlib.AbstractContextManager[None]:
    """While it lasts, a node of another operator than the pattern's first output is no match at once."""
    return replaced(MODULE, TRY, _at_its_operator)


def _at_its_operator(try_rewrite: Callable[..., Any]) -> Callable[..., Any]:
    from onnxscript.rewriter._matcher import SimplePatternMatcher

    def at(self: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        if type(self._matcher) is SimplePatternMatcher:  # which matches a node with the first output
            first = self._target_pattern.output_nodes[0].op_identifier()
            if first is not None and first[:2] != (node.domain, node.op_type):
                return None
        return try_rewrite(self, model, graph, node, **options)

    return at
