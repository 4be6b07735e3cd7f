"""Expand: one entry for many, also one for every frame."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from temport.exporter.streaming.joining import settled, sizes
from temport.exporter.streaming.positions import in_frame
from temport.exporter.streaming.shapes import axes_of_time, entries
from temport.exporter.streaming.status import OfSizes, Timed
from temport.exporter.streaming.step import Step, changes, joined_late


def filled(step: Step, node: ir.Node) -> None:
    first, (output,) = node.inputs[0], node.outputs
    assert first is not None and first.shape is not None and output.shape is not None
    status, added = step.status(first), len(output.shape) - len(first.shape)
    axes = axes_of_time(list(output.shape))
    if isinstance(status, Timed):
        if axes != [status.axis + added]:
            step.refuse(node, "repeats frames along another axis")
        status = replace(settled(status), axis=axes[0])
    elif axes:
        if len(axes) > 1:
            step.refuse(node, "compares each frame with each other")
        rows = entries(output.shape[axes[0]]) or 1
        status = Timed(axes[0], newest=changes(status, 0), late=joined_late([status]), rows=rows)
    dims = step.shape(output, status)
    delay = status.delay if isinstance(status, Timed) else 0
    of_sizes = isinstance(step.status(first), OfSizes)
    here = in_frame(step, node, first, delay) if of_sizes else step.held(first)
    if list(here.shape or ()) != dims:
        here = step.add("Expand", [here, sizes(step, dims)], dims, output.name or "expanded")
    step.give(output, here, status)
