"""Builds that share their trace: tracing is nearly all the time of a build, and it sees nothing of the passes."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from temport.exporter.build import Built, rewrite, traced_source
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.weights import fingerprint
from temport.exporter.trace.trace import Traced

_traces: dict[tuple[str, str], Traced] = {}


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
