"""What a user would compute without a stream: the whole window at every frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
from torch import nn

from temport.exporter.declare.call import EveryFrame
from temport.exporter.declare.declaration import Axis, Declaration
from temport.exporter.graph.edit import initializer
from temport.exporter.graph.flops import at_opt, count_flops
from temport.exporter.passes.order import SIMPLIFYING
from temport.exporter.passes.work import Work
from temport.exporter.streaming.sequences import of_every_frame, of_sequences, sequence_graph
from temport.exporter.streaming.shapes import TIME


def window(module: nn.Module, declaration: Declaration) -> tuple[int, float | None]:
    """Frames of the window that `--seq` says, and the FLOPs of it as an export without `--streaming` has them; None
    where a size depends on the data."""
    sequences = of_sequences(declaration)
    fixed = replace(
        sequences,
        inputs=tuple(
            replace(s, shape=tuple(_fixed(d) if isinstance(d, Axis) else d for d in s.shape))
            for s in sequences.inputs
        ),
    )
    graph = sequence_graph(module, sequences)
    if isinstance(of_every_frame(module, sequences), EveryFrame):
        _last_frame_only(graph)
    work = Work(at_opt(graph, sequences), fixed)
    for step in SIMPLIFYING:
        if step.is_for(fixed):
            step.run(work)
    counts = count_flops(work.model, fixed)
    return sequences.axes[TIME].opt, None if counts is None else sum(counts.values())


def _last_frame_only(model: ir.Model) -> None:
    """What an export of `forward` has: the last frame of the one output."""
    (every,) = model.graph.outputs
    assert every.shape is not None
    last = initializer(model.graph, f"{every.name}/newest", np.array(-1))
    node = ir.node("Gather", [every, last], {"axis": 1})
    node.outputs[0].type, node.outputs[0].name = every.type, f"{every.name}/last"
    node.outputs[0].shape = ir.Shape([d for i, d in enumerate(every.shape) if i != 1])
    model.graph.append(node)
    model.graph.outputs[0] = node.outputs[0]


def _fixed(axis: Axis) -> Axis:
    return Axis(axis.name, axis.opt, axis.opt, axis.opt)
