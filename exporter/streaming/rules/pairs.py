"""Scores of each frame with each other: attention of any kernel that a module spells out.

A product of frames with frames begins it. In the step graph the frame that looks is this one, and the frames that are
seen are the last of the horizon, oldest first, its own included. A mask is known by its numbers: what a pair is has to
follow from how much older the second is, and all that is newer has to be alike. Where a mask leaves zeros for what is
newer, a sum over the frames that are seen ends it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.graph import operators
from temport.exporter.graph.edit import named
from temport.exporter.streaming.positions import always, by_position, in_frame, matrix, row_at, table_of
from temport.exporter.streaming.shapes import Size, axes_of_time, times_batch
from temport.exporter.streaming.states import reshaped, ring
from temport.exporter.streaming.status import Fixed, OfSizes, Pairs, Timed
from temport.exporter.streaming.step import Step, joined_late

Array = npt.NDArray[Any]
PAIRS = "compares each frame with each other"
SUMS = "sums over all frames, later ones too"
ZERO_FROM_ZERO = ("Abs", "Cast", "Identity", "Neg", "Relu", "Sqrt")


def scores(step: Step, node: ir.Node) -> None:
    """A product of frames with frames, the second along its last axis."""
    step.one_each(node)
    left, right = node.inputs
    (output,) = node.outputs
    assert left is not None and right is not None and output.shape is not None
    statuses = [s for v in (left, right) if isinstance(s := step.status(v), Timed)]
    alike = not any(s.merged or s.newest for s in statuses) and not any(
        step.extra(node, v) for v in (left, right)
    )
    axis = len(output.shape) - 2
    placed = [s.axis for s in statuses] == [len(left.shape or ()) - 2, len(right.shape or ()) - 1]
    if not placed or not alike or len(right.shape or ()) != len(output.shape):
        step.refuse(node, PAIRS)
    delay, kept = max(0, *(s.delay for s in statuses)), step.horizon
    step.uses_horizon, step.kept = True, max(step.kept, kept)
    seen = _kept(step, node, right, axis + 1, kept, "keys", delay)
    found = Pairs(axis, axis + 1, kept, delay, late=joined_late(statuses))
    dims = _dims(output, found)
    here = step.add("MatMul", [step.held(left, delay), seen], dims, output.name or "scores")
    step.give(output, here, found)


def pairs(step: Step, node: ir.Node) -> None:
    """What takes scores: elementwise with what is of the pair or of the frame that looks, a sum over what is seen."""
    found = next(s for v in node.inputs if v is not None and isinstance(s := step.status(v), Pairs))
    if operators.of(node).elementwise and len(node.outputs) == 1:
        _each(step, node, found)
    elif node.op_type == "ReduceSum" and found.masked:
        _summed(step, node, found)
    elif node.op_type == "MatMul" and found.masked:
        _weighed(step, node, found)
    else:
        step.refuse(node, SUMS if node.op_type in ("ReduceSum", "MatMul") else PAIRS)


def _each(step: Step, node: ir.Node, found: Pairs) -> None:
    (output,) = node.outputs
    assert output.shape is not None
    others = [s for v in node.inputs if v is not None and isinstance(s := step.status(v), Pairs)]
    if any(replace(s, masked=found.masked, late=found.late) != found for s in others):
        step.refuse(node, PAIRS)
    here = [None if v is None else _operand(step, node, v, found) for v in node.inputs]
    attributes = {key: a.value for key, a in node.attributes.items()}
    made = step.add(
        node.op_type, here, _dims(output, found), output.name or "score", attributes, dtype=output.dtype
    )
    step.give(output, made, replace(found, masked=_masked(step, node)))


def _operand(step: Step, node: ir.Node, value: ir.Value, found: Pairs) -> ir.Value:
    """What stands for an operand of scores: of the pair, of the frame that looks, or of no frame."""
    status, rank = step.status(value), len(node.outputs[0].shape or ())
    shape = list(value.shape or ())
    looks = [i + rank - len(shape) for i in axes_of_time(shape)]
    if isinstance(status, Pairs | Fixed):
        return step.raw(value)
    if isinstance(status, Timed) and looks == [found.axis] and not (status.merged or status.newest):
        step.one_each(node)
        if status.delay > found.delay or step.extra(node, value):
            step.refuse(node, PAIRS)
        return step.held(value, found.delay)
    if isinstance(status, OfSizes) and looks == [found.axis, found.keys]:
        return _by_age(step, node, value, found)
    if isinstance(status, OfSizes) and looks == [found.axis] and _counts_pairs(value):
        axis = looks[0] - rank + len(shape)
        return by_position(
            step, node, value, table_of(step, node, value, axis)[: found.kept], axis, found.delay
        )
    if isinstance(status, OfSizes) and looks in ([], [found.axis]):
        return in_frame(step, node, value, found.delay)
    step.refuse(node, PAIRS)


def _masked(step: Step, node: ir.Node) -> bool:
    """Whether what the result has for newer frames is 0."""
    given = [v for v in node.inputs if v is not None]
    masked = [isinstance(s := step.status(v), Pairs) and s.masked for v in given]
    scored = [isinstance(step.status(v), Pairs) for v in given]
    if node.op_type == "Where":
        chosen = given[0]
        if isinstance(step.status(chosen), OfSizes):
            value = given[1 if bool(newer(step, node, chosen)) else 2]
            return masked[given.index(value)] or _is_zero(step, node, value)
        return masked[1] and masked[2]
    if node.op_type == "Mul":  # by what is of the frame that looks, and so as finite as in the model
        return any(masked) and sum(scored) == sum(masked)
    if node.op_type == "Div":
        return masked[0] and not scored[1]
    return node.op_type in ZERO_FROM_ZERO and all(masked)


def _is_zero(step: Step, node: ir.Node, value: ir.Value) -> bool:
    constant = always(step, node, value) if isinstance(step.status(value), Fixed | OfSizes) else None
    return constant is not None and not constant.any()


def newer(step: Step, node: ir.Node, value: ir.Value) -> Any:
    """The one number that a square of positions has for all frames that are newer; refused where there are several."""
    square = matrix(step, node, value)
    above = square[np.triu_indices(len(square), 1)]
    if not len(above) or not (above == above[0]).all():
        step.refuse(node, "treats later frames by how much later they are")
    return above[0]


def _by_age(step: Step, node: ir.Node, value: ir.Value, found: Pairs) -> ir.Value:
    """The row of a matrix of positions: what it has for each frame that is kept, and that of newer ones for those that
    have not come.
    """
    square, later, kept = matrix(step, node, value), newer(step, node, value), found.kept
    if len(square) < kept:
        step.refuse(node, "masks frames by a table that ends within the horizon")
    ages = [np.diagonal(square, -age) for age in range(kept)]
    if not all((each == each[0]).all() for each in ages):
        step.refuse(node, "masks frames by more than how much older they are")
    row = np.array([each[0] for each in reversed(ages)], square.dtype)
    come = np.arange(kept)[:, None] >= np.arange(kept)[::-1]  # after t frames more, those that are so old
    table = np.where(come, row, later).astype(square.dtype)
    here = row_at(step, named(value, "by_age"), table, found.delay)
    output = node.outputs[0]
    dims: list[Size] = [1] * len(output.shape or ())
    dims[found.keys] = kept
    place = next((i for i, d in enumerate(output.shape or ()) if times_batch(d, step.batch) == 1), 0)
    if step.batch != 1:
        dims[place] = step.batch
    return reshaped(step, here, dims, named(value, "row"))


def _counts_pairs(value: ir.Value) -> bool:
    """Whether a value by position was made of a matrix of positions, as the number of frames that a mask leaves."""
    stack, seen = [value], set[ir.Value]()
    while stack:
        here = stack.pop()
        if here in seen:
            continue
        seen.add(here)
        if here.shape is not None and len(axes_of_time(list(here.shape))) > 1:
            return True
        node = here.producer()
        stack += [] if node is None else [v for v in node.inputs if v is not None]
    return False


def _summed(step: Step, node: ir.Node, found: Pairs) -> None:
    (output,) = node.outputs
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    assert output.shape is not None and axes is not None and node.inputs[0] is not None
    rank = len(node.inputs[0].shape or ())
    if axes.const_value is None or [int(a) % rank for a in axes.const_value.numpy().reshape(-1)] != [
        found.keys
    ]:
        step.refuse(node, PAIRS)
    given = step.raw(node.inputs[0])
    step.copy(node, [given, step.raw(axes)], Timed(found.axis, found.delay, late=found.late))


def _weighed(step: Step, node: ir.Node, found: Pairs) -> None:
    """The product of scores with what the frames that are seen hold."""
    weights, values = node.inputs
    (output,) = node.outputs
    assert weights is not None and values is not None and output.shape is not None
    status, rank = step.status(values), len(output.shape)
    place = len(values.shape or ()) - 2
    fits = isinstance(step.status(weights), Pairs) and (found.axis, found.keys) == (rank - 2, rank - 1)
    if not (fits and isinstance(status, Timed) and status.axis == place):
        step.refuse(node, PAIRS)
    step.one_each(node)
    if status.merged or status.newest or status.delay > found.delay or step.extra(node, values):
        step.refuse(node, PAIRS)
    here = _kept(step, node, values, place, found.kept, "values", found.delay)
    step.copy(node, [step.raw(weights), here], Timed(rank - 2, found.delay, late=found.late))


def _kept(
    step: Step, node: ir.Node, value: ir.Value, axis: int, kept: int, what: str, delay: int
) -> ir.Value:
    here = step.held(value, delay)
    return here if kept == 1 else ring(step, node, here, axis, kept - 1, what, delay)


def _dims(output: ir.Value, found: Pairs) -> list[Size]:
    sizes = {found.axis: 1, found.keys: found.kept}
    return [sizes.get(i, d) for i, d in enumerate(output.shape or ())]
