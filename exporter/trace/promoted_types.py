"""Types that torch's exporter makes explicit: what is computed of a node is known until one of them changes.

To find where an operator mixes types, torch.onnx runs the whole graph with tensors that have shapes alone, a tenth of
the time of a large trace. Until a cast has been put in, every node gives what the trace says that it gives.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from temport.exporter.trace.replaced import replaced

MODULE, RUN = "torch.onnx._internal.fx.passes.type_promotion", "_TypePromotionInterpreter.run_node"


def types_promoted_without_a_run() -> contextlib.AbstractContextManager[None]:
    """While it lasts, a node in front of the first cast is not run: its value is the one that it was traced with."""
    return replaced(MODULE, RUN, _known_before_a_cast)


def _known_before_a_cast(run_node: Callable[..., Any]) -> Callable[..., Any]:
    from torch.fx import Interpreter
    from torch.onnx._internal.fx.passes.type_promotion import get_type_promotion_rule

    def known(self: Any, node: Any) -> Any:
        if getattr(self, "casts", False) or node.op != "call_function" or "val" not in node.meta:
            return run_node(self, node)
        given = node.args, node.kwargs
        with self._set_current_node(node):
            if rule := get_type_promotion_rule(node, self.type_promotion_table):
                self._maybe_promote_node(node, rule)
        if (node.args, node.kwargs) == given:
            return node.meta["val"]
        self.casts = True
        return Interpreter.run_node(self, node)

    return known
