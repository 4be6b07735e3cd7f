"""Sums, means and extremes over all frames: of those so far, which is what the model gives when a stream ends here."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from temport.exporter.streaming.rules.running import added
from temport.exporter.streaming.shapes import Size
from temport.exporter.streaming.states import reshaped, store, stored
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
    if step.extra(node, data) != -status.delay:
        late = status.late or Late(node, ALL)
        step.refuse(late.node, late.needs)
    here, name = step.raw(data), output.name or "reduced"
    assert here.shape is not None and here.dtype is not None
    dims: list[Size] = [1 if i in axes else d for i, d in enumerate(here.shape)]
    frame = step.add(node.op_type, [here, step.integers(*axes)], dims, f"{name}/frame", {"keepdims": 1})
    if node.op_type in JOINED:
        result = _joined(step, node, frame, JOINED[node.op_type])
    else:
        _, result = added(step, node, frame, 0)
    if node.op_type == "ReduceMean":
        result = _mean(step, result, name)
    if not keeps:
        left = [d for i, d in enumerate(dims) if i not in axes]
        result = step.add("Squeeze", [result, step.integers(*axes)], left, f"{name}/so_far")
    step.give(output, result, Last(late=Late(node, ALL)))


def _joined(step: Step, node: ir.Node, frame: ir.Value, op: str) -> ir.Value:
    """`op` of the frames so far, which begins with the first."""
    assert frame.shape is not None and frame.dtype is not None
    dims, name = list(frame.shape), frame.name or "frame"
    before, so_far = stored(step, node, dims, frame.dtype, "so_far")
    together = step.add(op, [so_far, frame], dims, f"{name}/joined")
    first = step.add(
        "Equal", [step.frames(), step.integers(0)], [step.batch, 1], f"{name}/first", dtype=ir.DataType.BOOL
    )
    first = _with_axes(step, first, dims, f"{name}/first/axes")
    after = step.add("Where", [first, frame, together], dims, f"{name}/so_far", dtype=frame.dtype)
    store(step, before, after, 0)
    return after


def _mean(step: Step, total: ir.Value, name: str) -> ir.Value:
    assert total.shape is not None and total.dtype is not None
    count = step.add("Add", [step.frames(), step.integers(1)], [step.batch, 1], "frames/so_far")
    kind = total.dtype
    count = step.add("Cast", [count], [step.batch, 1], f"{name}/count", {"to": kind.value}, dtype=kind)
    count = _with_axes(step, count, list(total.shape), f"{name}/count/axes")
    return step.add("Div", [total, count], list(total.shape), f"{name}/mean")


def _with_axes(step: Step, value: ir.Value, dims: Sequence[Size], name: str) -> ir.Value:
    """`[batch, 1]`, for a value of these sizes to broadcast with."""
    place = 0 if step.batch == 1 else next(i for i, d in enumerate(dims) if d == step.batch)
    return reshaped(step, value, [step.batch if i == place else 1 for i in range(len(dims))], name)
