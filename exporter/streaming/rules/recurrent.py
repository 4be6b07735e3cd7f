"""LSTM, GRU and RNN: what they carry from frame to frame is the state of the stream."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.streaming.positions import always
from temport.exporter.streaming.shapes import number
from temport.exporter.streaming.states import in_front, kept_until
from temport.exporter.streaming.status import Last, OfSizes, Timed
from temport.exporter.streaming.step import Step, changes

STATES = ("hidden", "cell")


def recurrent(step: Step, node: ir.Node) -> None:
    data, weight, recurrence, bias, lengths, *given = [*node.inputs, *[None] * 8][:8]
    assert data is not None and data.shape is not None and recurrence is not None
    status = step.status(data)
    if not isinstance(status, Timed):
        step.refuse(node, "runs over something else than frames")
    if not is_standard(node):
        step.refuse(node, "was packed for a runtime; export the model from its source")
    layout = node.attributes["layout"].as_int() if "layout" in node.attributes else 0
    direction = node.attributes["direction"].as_string() if "direction" in node.attributes else "forward"
    if direction != "forward":
        step.refuse(node, f"runs backwards too ({direction}), from the last frame on")
    if lengths is not None or any(
        isinstance(step.status(v), Timed | OfSizes) for v in (weight, recurrence, bias, given[2]) if v
    ):
        step.refuse(node, "takes lengths or weights that change with the frames")
    if status.axis != layout or status.newest or status.merged:
        step.refuse(node, "does not run over the frames as they come")
    delay = max(status.delay, 0)
    here = step.held(data, delay)
    assert recurrence.shape is not None and data.dtype is not None and here.shape is not None
    width = number(recurrence.shape[2])
    batch, axis = here.shape[1 - layout], layout
    with_direction = [1, batch, width] if layout == 0 else [batch, 1, width]
    name = node.outputs[0].name or "recurrent"
    before, initial = [], []
    for what, start in zip(STATES[: 2 if node.op_type == "LSTM" else 1], given, strict=False):
        state = step.state(node, what, [width], data.dtype)
        before.append(state)
        held = step.add("Unsqueeze", [state, step.integers(axis)], with_direction, f"{name}/{what}")
        initial.append(begun(step, node, held, start, delay))
    weights = [None if v is None else step.raw(v) for v in (weight, recurrence, bias)]
    inputs = [here, *weights, None, *initial]
    if given[2] is not None:
        inputs += [*[None] * (7 - len(inputs)), step.raw(given[2])]
    rows = status.rows
    frame: list[int | ir.SymbolicDim] = [rows, 1, batch, width] if layout == 0 else [batch, rows, 1, width]
    attributes = {key: ir.Attr(a.name, a.type, a.value) for key, a in node.attributes.items()}
    outputs = step.add_of(
        "", node.op_type, inputs, [frame, *[with_direction] * len(initial)], name, attributes
    )
    for state, after in zip(before, outputs[1:], strict=True):
        squeezed = step.add("Squeeze", [after, step.integers(axis)], [batch, width], f"{after.name}/state")
        step.carry(state, kept_until(step, state, squeezed, delay))
    for i, (old, new) in enumerate(zip(node.outputs, outputs, strict=False)):
        step.give(old, new, replace(status, delay=delay) if i == 0 else Last(delay))


def begun(step: Step, node: ir.Node, held: ir.Value, start: ir.Value | None, delay: int) -> ir.Value:
    """A state `held` that is `start` before the first frame."""
    if start is None:
        return held
    status = step.status(start)
    if isinstance(status, Timed) or changes(status, delay):
        step.refuse(node, "begins with what the model computes of the frames")
    known = isinstance(status, OfSizes) or start.const_value is not None
    array = always(step, node, start) if known else None
    if array is not None and not np.any(array):
        return held
    first = in_front(step, held, delay, 1, f"{held.name}/begun")
    initial = step.raw(start) if array is None else step.constant(f"{start.name}/always", array, array.dtype)
    assert held.shape is not None
    return step.add(
        "Where", [first, initial, held], list(held.shape), f"{held.name}/from_start", dtype=held.dtype
    )
