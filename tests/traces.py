"""Tracing is nearly all the time of a build, and it sees nothing of pruning, dialect and precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import onnx_ir as ir
import pytest
from torch import nn

from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.weights import fingerprint
from temport.exporter.trace.torch_to_onnx import to_onnx


@contextmanager
def one_trace_for_each_model() -> Iterator[None]:
    """Builds of one model that differ behind the tracer alone start from copies of one traced graph."""
    traces: dict[tuple[str, str], ir.Model] = {}

    def traced(module: nn.Module, declaration: Declaration) -> ir.Model:
        if declaration.arch == "module":  # whose source the declaration does not hold
            return to_onnx(module, declaration)
        key = (fingerprint(module), repr(replace(declaration, prune=True, ops="custom", precision="float32")))
        if key not in traces:
            traces[key] = to_onnx(module, declaration)
        return traces[key].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("temport.exporter.build.to_onnx", traced)
        yield
