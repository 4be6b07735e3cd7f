"""Open sizes of a trace, read as they are and computed once.

Of every size that it reads torch asks whether it is a number, term by term, before it looks whether anything was
replaced in it since, and again where it wants the number; and the strides of every tensor are computed anew, which for
15,000 operators are 200 results. Together that is up to a quarter of the time of a trace with open axes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from temport.exporter.trace.replaced import replaced

MODULE, READ, NUMBER = "torch.fx.experimental.sym_node", "SymNode.expr", "SymNode.maybe_as_int"
OPERATORS = ("_add", "_mul", "_sub", "_eq", "_ne", "_ge", "_gt", "_le", "_lt")


def sizes_read_as_they_are() -> contextlib.AbstractContextManager[None]:
    """While it lasts, an expression in which nothing was replaced, or not since it was last read, is given at once."""
    return replaced(MODULE, READ, _as_it_is)


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


def numbers_told_once() -> contextlib.AbstractContextManager[None]:
    """While it lasts, an expression is asked once which number it is, if any."""
    return replaced(MODULE, NUMBER, _told_once)


def _told_once(ask: Callable[[Any], int | None]) -> Callable[[Any], int | None]:
    known: dict[Any, int | None] = {}

    def maybe_as_int(self: Any) -> int | None:
        expression = self.expr
        if expression not in known:
            known[expression] = ask(self)
        return known[expression]

    return maybe_as_int


@contextlib.contextmanager
def sizes_computed_once() -> Iterator[None]:
    """While it lasts, a sum, a product or a comparison of two sizes is a copy of what it was before."""
    with contextlib.ExitStack() as every:
        for operator in OPERATORS:
            every.enter_context(replaced(MODULE, f"SymNode.{operator}", _once))
        yield


def _once(compute: Callable[..., Any]) -> Callable[..., Any]:
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    known: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def at(one: Any, other: Any) -> Any:
        sizes = one.shape_env
        if sizes is None or sizes._translation_validation_enabled or get_proxy_mode() is not None:
            return compute(one, other)  # a comparison of constants, or a node of a graph
        key = (id(sizes), *_says(one), *_says(other))
        if key not in known:
            result = compute(one, other)
            known[key] = _twin(result), sizes  # which is held, so that its id is no other's
            return result
        return _twin(known[key][0])

    return at


def _says(size: Any) -> tuple[Any, ...]:
    """All of a size that an operator looks at."""
    return size.expr, size.pytype, size._hint, size._optimized_summation


def _twin(size: Any) -> Any:
    """`copy.copy`, which finds out anew at each call how a copy is made."""
    twin = object.__new__(type(size))
    vars(twin).update(vars(size))
    return twin
