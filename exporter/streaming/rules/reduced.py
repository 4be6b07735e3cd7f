"""Sums, means and extremes over all frames: of those so far, which is what the model gives when a stream ends here."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from temport.exporter.streaming.rules.running import added
from temport.exporter.streaming.shapes import Size
from temport.exporter.streaming.states import beside, in_front, store, stored
from temport.exporter.streaming.status import Last, Late, Timed
from temport.exporter.streaming.step import Step

ALL = "takes all frames, later ones too"
JOINED = {"ReduceMax": "Max", "ReduceMin": "Min", "ReduceProd": "Mul"}
"""What joins the frames so far with one more."""
SUMMED = ("ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL1")
"""Sums of what they make of each frame."""


def reduced_frames(step: Step, node: ir.Node, status: Timed, axes: Sequence[int], keeps: bool) -> None:
    """A reduction over time and perhaps over other axes, which are reduced in each frame."""
    data, (output,) = node.inputs[0], node.outputs
    assert data is not None and data.shape is not None and output.shape is not None
    if status.merged or status.newest or (node.op_type not in JOINED and node.op_type not in SUMMED):
        step.refuse(node, ALL)
    # of frames so far and `extra` entries more, the last is to be here with the last frame
    delay = -step.extra(node, data)
    if delay < status.delay:
        late = status.late or Late(node, ALL)
        step.refuse(late.node, late.needs)
    here, name = step.held(data, delay), output.name or "reduced"
    assert here.shape is not None and here.dtype is not None
    dims: list[Size] = [1 if i in axes else d for i, d in enumerate(here.shape)]
    frame = step.add(node.op_type, [here, step.integers(*axes)], dims, f"{name}/frame", {"keepdims": 1})
    if node.op_type in JOINED:
        result = _joined(step, node, frame, JOINED[node.op_type], delay)
    else:
        _, result = added(step, node, frame, delay)
    if delay < 0:
        front = _before_frames(step, node, status, here, -delay, axes)
        result = step.add(JOINED.get(node.op_type, "Add"), [result, front], dims, f"{name}/with_front")
    if node.op_type == "ReduceMean":
        result = _mean(step, result, name, delay)
    if not keeps:
        left = [d for i, d in enumerate(dims) if i not in axes]
        result = step.add("Squeeze", [result, step.integers(*axes)], left, f"{name}/so_far")
    step.give(output, result, Last(max(delay, 0), late=Late(node, ALL)))


def _joined(step: Step, node: ir.Node, frame: ir.Value, op: str, delay: int) -> ir.Value:
    """`op` of the frames so far, which begins with entry 0."""
    assert frame.shape is not None and frame.dtype is not None
    dims, name = list(frame.shape), frame.name or "frame"
    before, so_far = stored(step, node, dims, frame.dtype, "so_far")
    together = step.add(op, [so_far, frame], dims, f"{name}/joined")
    first = in_front(step, frame, max(delay, 0), 1, name)
    after = step.add("Where", [first, frame, together], dims, f"{name}/so_far", dtype=frame.dtype)
    store(step, before, after, delay)
    return after


def _before_frames(
    step: Step, node: ir.Node, status: Timed, here: ir.Value, count: int, axes: Sequence[int]
) -> ir.Value:
    """The same reduction of the `count` entries in front of the frames; of a mean their sum over time."""
    assert here.shape is not None and here.dtype is not None
    name = f"{node.outputs[0].name}/front"
    lead = status.lead or step.constant(f"{name}/zero", 0, here.dtype.numpy())
    # along an open axis, the batch, `lead` broadcasts
    shape = [count if i == status.axis else d if isinstance(d, int) else 1 for i, d in enumerate(here.shape)]
    rows = step.add("Expand", [lead, step.integers(*shape)], shape, name, dtype=here.dtype)
    dims = [1 if i in axes else d for i, d in enumerate(shape)]
    front = step.add(node.op_type, [rows, step.integers(*axes)], dims, f"{name}/reduced", {"keepdims": 1})
    if node.op_type == "ReduceMean":
        times = step.constant(f"{name}/count", count, here.dtype.numpy())
        front = step.add("Mul", [front, times], dims, f"{name}/sum")
    return front


def _mean(step: Step, total: ir.Value, name: str, delay: int) -> ir.Value:
    """The total of as many entries as there are so far."""
    assert total.shape is not None and total.dtype is not None
    row, place = [step.batch, 1], step.frames(delay)
    if delay > 0:  # no entry yet is counted as one, so that nothing is divided by zero
        place = step.add("Max", [place, step.integers(0)], row, f"{name}/from_0")
    count = step.add("Add", [place, step.integers(1)], row, "frames/so_far")
    kind = total.dtype
    count = step.add("Cast", [count], row, f"{name}/count", {"to": kind.value}, dtype=kind)
    count = beside(step, count, list(total.shape), f"{name}/count/axes")
    return step.add("Div", [total, count], list(total.shape), f"{name}/mean")
