"""Builds and step models that share their trace: it is nearly all their time, and sees nothing of the passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from torch import nn

from temport.exporter import build as builds
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


def declare_stream(declaration: Declaration, module: nn.Module) -> Declaration:
    """`temport.exporter.streaming.declare.declare_stream`; a registered architecture is traced once in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "trace", _of_trace)
        return streams.declare_stream(declaration, module)


def _of_trace(module: nn.Module, declaration: Declaration) -> Traced:
    return _once(type(module).__name__, trace, module, declaration)


def _once(
    what: str, make: Callable[[nn.Module, Declaration], Traced], module: nn.Module, declaration: Declaration
) -> Traced:
    if declaration.arch in ("module", "onnx"):  # whose source the declaration does not hold
        return make(module, declaration)
    plain = replace(declaration, without=(), ops="custom", precision="float32")
    key = (what, fingerprint(module), repr(plain))
    if key not in _traces:
        _traces[key] = make(module, declaration)
    return _traces[key]


@contextmanager
def shared_by_exports() -> Iterator[None]:
    """While it lasts, whole exports of a registered architecture share its trace, which is that of one process.

    For tests of what comes behind a trace alone.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (builds, sequences):
            patch.setattr(module, "trace", _of_trace)
        yield
