"""What a user would compute without a stream: the whole window at every frame."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from temport.exporter.declare.declaration import Axis, Declaration
from temport.exporter.graph.flops import at_opt, count_flops
from temport.exporter.passes.order import SIMPLIFYING, Work
from temport.exporter.streaming.sequences import of_sequences, sequence_graph
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
    work = Work(at_opt(sequence_graph(module, sequences), sequences), fixed)
    for step in SIMPLIFYING:
        if step.is_for(fixed):
            step.run(work)
    counts = count_flops(work.model, fixed)
    return sequences.axes[TIME].opt, None if counts is None else sum(counts.values())


def _fixed(axis: Axis) -> Axis:
    return Axis(axis.name, axis.opt, axis.opt, axis.opt)
