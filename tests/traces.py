"""Builds that share their trace: tracing is nearly all the time of a build, and it sees nothing of the passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from torch import nn

from temport.exporter import build as builds
from temport.exporter.build import Built, rewrite, traced_source
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.weights import fingerprint
from temport.exporter.streaming import sequences
from temport.exporter.trace.trace import Traced, trace

_traces: dict[tuple[str, str], Traced] = {}
_of_exports: dict[tuple[str, str, str], Traced] = {}


def build(module: nn.Module, declaration: Declaration) -> Built:
    """`temport.exporter.build.build`; a registered architecture is traced once in this process."""
    return rewrite(traced(module, declaration), declaration)


def traced(module: nn.Module, declaration: Declaration) -> Traced:
    """The trace of a module, kept where the declaration says all of it."""
    if declaration.arch == "module":  # whose source the declaration does not hold
        return traced_source(module, declaration)
    key = (fingerprint(module), repr(replace(declaration, without=(), ops="custom", precision="float32")))
    if key not in _traces:
        _traces[key] = traced_source(module, declaration)
    return _traces[key]


@contextmanager
def shared_by_exports() -> Iterator[None]:
    """While it lasts, whole exports of a registered architecture share its trace, which is that of one process.

    For tests of what comes behind a trace alone.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (builds, sequences):
            patch.setattr(module, "trace", _once)
        yield


def _once(module: nn.Module, declaration: Declaration) -> Traced:
    if declaration.module is not None or declaration.arch == "onnx":
        return trace(module, declaration)
    plain = replace(declaration, without=(), ops="custom", precision="float32")
    key = (type(module).__name__, fingerprint(module), repr(plain))
    if key not in _of_exports:
        _of_exports[key] = trace(module, declaration)
    return _of_exports[key]
