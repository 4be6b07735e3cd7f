"""Builds and step models that share their trace: it is nearly all their time, and sees nothing of the passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from torch import nn

from temport.exporter import export as exporting
from temport.exporter.build import Built, rewrite, traced_source
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.weights import fingerprint
from temport.exporter.streaming import declare as streams
from temport.exporter.streaming import sequences
from temport.exporter.trace.trace import Traced, trace

_traces: dict[tuple[str, ...], Traced] = {}


def build(module: nn.Module, declaration: Declaration) -> Built:
    """`temport.exporter.build.build`; a registered architecture is traced once in this process."""
    return rewrite(traced(module, declaration), declaration)


def traced(module: nn.Module, declaration: Declaration) -> Traced:
    """The trace of a module, kept where the declaration says all of it."""
    return _once("whole", traced_source, module, declaration)


@contextmanager
def exports_traced_once() -> Iterator[None]:
    """While it lasts, exports of this process share their traces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "traced_source", traced)
        yield


def declare_stream(declaration: Declaration, module: nn.Module) -> Declaration:
    """`temport.exporter.streaming.declare.declare_stream`; a registered architecture is traced once in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "trace", lambda *asked: _once(type(asked[0]).__name__, trace, *asked))
        return streams.declare_stream(declaration, module)


def _once(
    what: str, make: Callable[[nn.Module, Declaration], Traced], module: nn.Module, declaration: Declaration
) -> Traced:
    if declaration.arch == "module":  # whose source the declaration does not hold
        return make(module, declaration)
    plain = replace(declaration, without=(), ops="custom", precision="float32")
    key = (what, fingerprint(module), repr(plain))
    if key not in _traces:
        _traces[key] = make(module, declaration)
    return _traces[key]
