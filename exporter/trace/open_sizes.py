"""Open sizes of a trace, read and computed without what torch does beside it.

Of every size that it reads torch asks whether it is a number, term by term, before it looks whether anything was
replaced in it since; and for every sum of sizes it looks for a record that only its own checks of itself make. Together
that is up to a tenth of the time of a trace with open axes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from temport.exporter.trace.replaced import replaced

READ = "torch.fx.experimental.sym_node", "SymNode.expr"
RECORD = "torch.fx.experimental.symbolic_shapes", "ShapeEnv._create_fx_call_function"


def sizes_read_as_they_are() -> contextlib.AbstractContextManager[None]:
    """While it lasts, an expression in which nothing was replaced, or not since it was last read, is given at once."""
    return replaced(*READ, _as_it_is)


def _as_it_is(expression: property) -> property:
    read = expression.fget
    assert read is not None

    def expr(self: Any) -> Any:
        if self.shape_env is not None:
            version = self.shape_env._replacements_version_counter
            if version == 0:
                return self._expr
            if version == self._expr_ver and self._expr_cache is not None:
                return self._expr_cache
        return read(self)

    return property(expr)


def sizes_computed_without_a_record() -> contextlib.AbstractContextManager[None]:
    """While it lasts, no node is looked for in the graph of sizes, which is there only while torch checks itself."""
    return replaced(*RECORD, _where_it_is_kept)


def _where_it_is_kept(record: Callable[..., Any]) -> Callable[..., Any]:
    def at(self: Any, op: Any, args: Any) -> Any:
        return record(self, op, args) if self._translation_validation_enabled else (None, False)

    return at
