"""Operators that take of each input the entry of the same frame, as `Along` says, and nothing of other frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from temport.exporter.graph import operators
from temport.exporter.graph.operator_row import Along
from temport.exporter.streaming.joining import join, joined_inputs, settled, sizes, whole_inputs
from temport.exporter.streaming.rules.reduced import reduced_frames
from temport.exporter.streaming.shapes import Size, along_time, extra, of_one_frame, times_batch
from temport.exporter.streaming.states import had_before, reshaped
from temport.exporter.streaming.status import Fixed, OfSizes, Timed
from temport.exporter.streaming.step import Step


def along(step: Step, node: ir.Node) -> None:
    """By what an entry of the output takes along an axis."""
    row = operators.of(node).along
    match row:
        case Along.EACH:
            each(step, node)
        case Along.ROWS:
            _first_input(step, node, _not_last)
        case Along.FROM_AXIS:
            _first_input(step, node, _before_axis)
        case Along.ACROSS_AXIS:
            across(step, node)
        case Along.BESIDE_AXES:
            _reduction(step, node)
        case Along.RENAMED:
            renamed(step, node)
        case Along.PERMUTED:
            _transpose(step, node)
        case Along.QUERIES | Along.WINDOW | Along.ALL:
            step.refuse(node, "takes other frames too, and how is not known")
        case _:
            step.refuse(node, "has no rule along time")


def each(step: Step, node: ir.Node) -> None:
    """Operands broadcast; those that come earlier wait for the others."""
    (output,) = node.outputs
    assert output.shape is not None
    if early(step, node):
        return
    joined = join(step, node, len(output.shape))
    step.copy(node, joined_inputs(step, node, joined), joined)


def early(step: Step, node: ir.Node, data: Sequence[ir.Value] | None = None) -> bool:
    """Of values that come equally early so does the result: what stands in front of them goes through the node too.

    data  those that have frames, of the result's rank; default: all inputs that have
    """
    given = [v for v in node.inputs if v is not None]
    timed, (output,) = step.timed(node) if data is None else data, node.outputs
    if not timed or not all(isinstance(step.status(v), Fixed | Timed) for v in given):
        return False
    statuses = [s for v in timed if isinstance(s := step.status(v), Timed)]
    status = statuses[0]
    alike = {(s.axis, s.delay, s.merged, s.newest) for s in statuses}
    assert output.shape is not None
    if len(alike) > 1 or status.delay >= 0 or any(len(v.shape or ()) != len(output.shape) for v in timed):
        return False
    here = [None if v is None else step.raw(v) for v in node.inputs]
    led = [lead_of(step, v) if v in timed else h for v, h in zip(node.inputs, here, strict=True)]
    step.copy(node, here, status)
    attributes = {key: a.value for key, a in node.attributes.items()}
    (after,) = step.add_of(node.domain, node.op_type, led, [[]], f"{output.name}/lead", attributes)
    after.type, after.shape = output.type, None  # it is folded, and may have size 1 anywhere
    step.give(output, step.raw(output), replace(status, lead=after))
    return True


def lead_of(step: Step, value: ir.Value | None) -> ir.Value:
    """What stands in front of the first frame of a value that comes early, with time of size 1."""
    status = None if value is None else step.status(value)
    assert (
        value is not None
        and isinstance(status, Timed)
        and value.shape is not None
        and value.dtype is not None
    )
    if status.lead is not None:
        return status.lead
    zero = np.zeros([1] * len(value.shape), value.dtype.numpy())
    return step.constant(f"{value.name}/lead", zero, zero.dtype)


def across(step: Step, node: ir.Node) -> None:
    """Along every axis but one; all inputs have the same axes."""
    shape = node.inputs[0].shape if node.inputs and node.inputs[0] is not None else None
    assert shape is not None
    default = 0 if node.op_type in ("Concat", "Split") else -1
    axis = (node.attributes["axis"].as_int() if "axis" in node.attributes else default) % len(shape)
    values = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    joined = join(step, node, len(shape), values)
    if isinstance(joined, Timed) and joined.axis == axis:
        masked = " without a mask that hides them" if node.op_type in ("Softmax", "LogSoftmax") else ""
        step.refuse(node, f"takes all frames, later ones too{masked}")
    others = [None if v is None else step.raw(v) for v in node.inputs[len(values) :]]
    step.copy(node, [*whole_inputs(step, node, joined, values), *others], joined)


def _first_input(step: Step, node: ir.Node, fits: Callable[[ir.Node, int, int], bool]) -> None:
    """The first input has the frames; the others have none."""
    first, *others = node.inputs
    assert first is not None and first.shape is not None
    status = step.status(first)
    if any(isinstance(step.status(v), Timed | OfSizes) for v in others if v is not None):
        step.refuse(node, "takes weights that change with the frames")
    rest = [None if v is None else step.raw(v) for v in others]
    if isinstance(status, OfSizes):
        joined = join(step, node, len(first.shape), [first])
        step.copy(node, [*whole_inputs(step, node, joined, [first]), *rest], joined)
        return
    if isinstance(status, Timed):
        if not fits(node, status.axis, len(first.shape)):
            step.refuse(node, "takes all frames, later ones too")
        if status.lead is not None and len(node.outputs) == 1 and early(step, node, [first]):
            return
        status = settled(status)
    step.copy(node, [step.held(first), *rest], status)


def _not_last(node: ir.Node, axis: int, rank: int) -> bool:
    transposed = "transA" in node.attributes and node.attributes["transA"].as_int()
    return axis < rank - 1 if not transposed else axis == rank - 1


def _before_axis(node: ir.Node, axis: int, rank: int) -> bool:
    first = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    return axis < first % rank


def channels(step: Step, node: ir.Node) -> None:
    """Channels are on axis 1."""
    _first_input(step, node, lambda node, axis, rank: axis != 1)


def _reduction(step: Step, node: ir.Node) -> None:
    first = node.inputs[0]
    assert first is not None and first.shape is not None
    status = step.status(first)
    axes = reduced_axes(step, node)
    rest = [None if v is None else step.raw(v) for v in node.inputs[1:]]
    if isinstance(status, OfSizes):
        step.refuse(node, "is computed from positions together with something else")
    if isinstance(status, Timed):
        if status.axis in axes:
            reduced_frames(step, node, status, axes, keeps_dims(node))
            return
        status = settled(status)
        if not keeps_dims(node):
            status = replace(status, axis=status.axis - sum(a < status.axis for a in axes))
    step.copy(node, [step.held(first), *rest], status)


def keeps_dims(node: ir.Node) -> bool:
    return node.attributes["keepdims"].as_int() != 0 if "keepdims" in node.attributes else True


def reduced_axes(step: Step, node: ir.Node) -> list[int]:
    """The axes that a reduction takes together."""
    first = node.inputs[0]
    assert first is not None and first.shape is not None
    rank = len(first.shape)
    if node.op_type in ("ArgMax", "ArgMin"):
        return [(node.attributes["axis"].as_int() if "axis" in node.attributes else 0) % rank]
    given = node.inputs[1] if len(node.inputs) > 1 else None
    if given is None:
        return list(range(rank))
    if given.const_value is None:
        step.refuse(node, "reduces axes that are computed")
    return [int(a) % rank for a in given.const_value.numpy().reshape(-1)] or list(range(rank))


def renamed(step: Step, node: ir.Node) -> None:
    """Elements in their order under other axes: frames stay an axis of their own, become one with what is of each frame
    behind them, whose entries come side by side then, or are one with the batch."""
    first, (output,) = node.inputs[0], node.outputs
    assert first is not None and first.shape is not None and output.shape is not None
    status = step.status(first)
    if isinstance(status, OfSizes):
        step.refuse(node, "is computed from positions together with something else")
    if isinstance(status, Timed):
        status = _renamed_axis(step, node, settled(status))
    dims = step.shape(output, status)
    here = step.held(first)
    new = had_before(here, dims)
    if new is None and node.op_type in ("Squeeze", "Unsqueeze") and len(node.inputs) > 1:
        step.copy(node, [here, *(step.raw(v) for v in node.inputs[1:] if v is not None)], status)
        return
    if new is None and sum(not isinstance(d, int) for d in dims) > 1:
        new = step.add("Reshape", [here, sizes(step, dims)], dims, output.name or "renamed")
    step.give(output, new or reshaped(step, here, dims, output.name or "renamed"), status)


def _renamed_axis(step: Step, node: ir.Node, status: Timed) -> Timed:
    """Where the frames are in the output, how many entries each has there, and whether the batch is there too."""
    first, (output,) = node.inputs[0], node.outputs
    assert first is not None and first.shape is not None and output.shape is not None
    places = [i for i, d in enumerate(output.shape) if along_time(d)]
    if len(places) != 1:
        step.refuse(node, "parts the axis of frames or joins it with others")
    (place,) = places
    before, after = list(first.shape), list(output.shape)
    alone = [_product(dims[:at]) for dims, at in ((before, status.axis), (after, place))]
    # what lies between a frame and the next says how many entries it has beside what is behind the axis
    inner = [_product([status.rows, *before[status.axis + 1 :]]), _product(after[place + 1 :])]
    rows, left = divmod(int(inner[0][0]), max(int(inner[1][0]), 1))
    if rows and not left and inner[0][1:] == inner[1][1:]:
        found = replace(status, axis=place, merged=False, rows=rows)
        if not status.merged and alone[0] == alone[1]:
            same = rows == status.rows and before[status.axis] == after[place]
            if same or extra(after[place], rows) == step.extra(node, first) * rows:
                return found
        joined = before[status.axis] if status.merged else after[place]
        joins_batch = times_batch(of_one_frame(joined), step.batch) is not None
        together = int(_product([of_one_frame(after[place])])[0]) % rows == 0
        if (
            joins_batch
            and together
            and _product([rows, *before[: status.axis + 1]]) == _product([status.rows, *after[: place + 1]])
        ):
            return replace(found, merged=extra(after[place], rows) is None)
    step.refuse(node, "parts the axis of frames or joins it with others")


def _product(dims: Sequence[Size]) -> list[str]:
    """Sizes that are multiplied, whatever their order: equal lists are equal products."""
    number, names = 1, list[str]()
    for dim in dims:
        if isinstance(dim, int):
            number *= dim
        else:
            names += str(dim.value).replace(" ", "").split("*")
    number *= _numbers(names)
    return [str(number), *sorted(n for n in names if not n.isdigit())]


def _numbers(names: Sequence[str]) -> int:
    product = 1
    for name in names:
        product *= int(name) if name.isdigit() else 1
    return product


def _transpose(step: Step, node: ir.Node) -> None:
    first = node.inputs[0]
    assert first is not None and first.shape is not None
    status, rank = step.status(first), len(first.shape)
    perm = list(node.attributes["perm"].as_ints()) if "perm" in node.attributes else list(range(rank))[::-1]
    if isinstance(status, Timed):
        here, lead = step.held(first, status.delay), status.lead
        if lead is not None:
            lead = step.add("Transpose", [lead], [], f"{node.outputs[0].name}/lead", {"perm": perm})
            lead.shape = None  # it is folded, and may have size 1 anywhere
        step.copy(node, [here], replace(status, axis=perm.index(status.axis), lead=lead))
    else:
        step.copy(node, [step.raw(first)], status)
