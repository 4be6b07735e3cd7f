"""Fixtures of the exporter's tests."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir
import pytest
from torch import nn

from exporter.declaration import Declaration
from exporter.torch_to_onnx import to_onnx


@pytest.fixture
def one_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds of a test that differ behind the tracer alone start from copies of one traced graph.

    Tracing is nearly all the time of a build, and it sees nothing of pruning, dialect and precision.
    """
    traces: dict[str, ir.Model] = {}

    def traced(module: nn.Module, declaration: Declaration) -> ir.Model:
        key = repr(replace(declaration, prune=True, ops="custom", precision="float32"))
        if key not in traces:
            traces[key] = to_onnx(module, declaration)
        return traces[key].clone()

    monkeypatch.setattr("exporter.build.to_onnx", traced)
