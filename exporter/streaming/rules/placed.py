"""ScatterND along time: what is put in the place of some of the entries of every frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from temport.exporter.streaming.joining import join, settled, whole_inputs
from temport.exporter.streaming.positions import table_of
from temport.exporter.streaming.shapes import along_time, entries
from temport.exporter.streaming.status import OfSizes, Timed
from temport.exporter.streaming.step import Step

ELSEWHERE = "puts values in places that differ from frame to frame"


def placed(step: Step, node: ir.Node) -> None:
    """As `tokens[:, 1::3] = x` writes it: places along the first axis, the same in each frame."""
    data, places, values = node.inputs
    assert data is not None and places is not None and values is not None
    assert data.shape is not None and places.shape is not None
    status, rows = step.status(values), entries(data.shape[0])
    listed = len(places.shape) == 2 and places.shape[1] == 1 and along_time(places.shape[0])
    if not listed or not isinstance(step.status(places), OfSizes):
        step.refuse(node, ELSEWHERE)
    base = join(step, node, len(data.shape), [data])
    if rows is None or not all(isinstance(s, Timed) and not s.axis and not s.merged for s in (base, status)):
        step.refuse(node, ELSEWHERE)
    assert isinstance(base, Timed) and isinstance(status, Timed)
    each = table_of(step, node, places, 0)
    here = each - rows * np.arange(len(each))[:, None, None]
    if (
        each.shape[1] != status.rows
        or not (here == here[0]).all()
        or not (here[0] >= 0).all() & (here[0] < rows).all()
    ):
        step.refuse(node, ELSEWHERE)
    becomes = replace(
        settled(base), delay=max(base.delay, status.delay, 0), newest=base.newest or status.newest, rows=rows
    )
    index = step.constant(f"{places.name}/in_frame", here[0], here.dtype)
    held = step.held(values, becomes.delay)
    step.copy(node, [*whole_inputs(step, node, becomes, [data]), index, held], becomes)
