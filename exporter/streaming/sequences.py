"""The graph of sequences that a step model is made of: traced with its axis of time open, and read by the passes."""

from __future__ import annotations

import onnx_ir as ir
from torch import nn

from temport.exporter.declare.declaration import Declaration
from temport.exporter.passes.order import RECOGNISING, Work
from temport.exporter.trace.trace import Traced, trace


def sequence_graph(module: nn.Module, declaration: Declaration) -> tuple[ir.Model, Traced]:
    """The graph after the passes that recognise what a module says, and the trace behind it."""
    traced = trace(module, declaration)
    work = Work(traced.model.clone(), declaration)
    for step in RECOGNISING:
        if step.is_for(declaration):
            step.run(work)
    return work.model, traced
