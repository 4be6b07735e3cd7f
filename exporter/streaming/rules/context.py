"""What stands in front of the frames or behind them: Pad, and Concat along time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from temport.exporter.streaming.joining import settled
from temport.exporter.streaming.positions import always
from temport.exporter.streaming.rules.along import across
from temport.exporter.streaming.shapes import number
from temport.exporter.streaming.states import in_front, part
from temport.exporter.streaming.status import Fixed, Last, Late, OfSizes, Status, Timed
from temport.exporter.streaming.step import Step

BEHIND = "needs the frames that come after, and stands in its own for those after the last"


def context(step: Step, node: ir.Node) -> None:
    if node.op_type == "Pad":
        _pad(step, node)
    else:
        _concat(step, node)


def _pad(step: Step, node: ir.Node) -> None:
    data, pads, value, axes = [*node.inputs, None, None][:4]
    assert data is not None and data.shape is not None and pads is not None
    status, rank = step.status(data), len(data.shape)
    amounts = always(step, node, pads)
    if amounts is None or (axes is not None and axes.const_value is None):
        step.refuse(node, "pads by the number of frames")
    places = (
        [int(a) % rank for a in axes.const_value.numpy()]
        if axes is not None and axes.const_value is not None
        else list(range(rank))
    )
    given = [int(n) for n in amounts.reshape(-1)]
    front, behind = (
        dict(zip(places, given[: len(places)], strict=True)),
        dict(zip(places, given[len(places) :], strict=True)),
    )
    if isinstance(status, OfSizes):
        step.refuse(node, "is computed from positions together with something else")
    if not isinstance(status, Timed):
        step.copy(node, [step.raw(v) if v is not None else None for v in node.inputs], status)
        return
    if status.lead is not None:
        status = settled(status)
    left, right = front.pop(status.axis, 0), behind.pop(status.axis, 0)
    if left or right:
        step.one_each(node)
    fill = 0.0 if value is None else _number(step, node, value)
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    if mode != "constant" and (left or right):
        step.refuse(node, f"pads the frames with others ({mode})")
    beside = any(front.values()) or any(behind.values())
    delay = status.delay - left
    late = Late(node, BEHIND) if right > 0 else status.late
    if left > 0 and fill != 0 and status.delay == 0 and not beside:
        here = step.held(data, 0)
        assert here.dtype is not None
        lead = step.constant(f"{node.outputs[0].name}/lead", np.full([1] * rank, fill), here.dtype.numpy())
        status = replace(status, lead=lead)
    elif left > 0 and (fill != 0 or delay >= 0):
        delay = max(delay, 0)
        here = _filled_before(step, node, step.held(data, delay + left), status, delay, left, fill)
    else:
        here = step.held(data, status.delay)
        if beside and delay < 0:
            delay, here = 0, step.held(data, left)
    if beside:
        before = [front.get(a, 0) for a in range(rank)]
        after = [behind.get(a, 0) for a in range(rank)]
        pads_here = step.integers(*before, *after)
        filler = [] if value is None else [step.raw(value)]
        (output,) = node.outputs
        attributes = {"mode": mode}
        assert output.shape is not None
        dims = step.shape(output, status)
        here = step.add("Pad", [here, pads_here, *filler], dims, output.name or "padded", attributes)
    step.give(node.outputs[0], here, replace(status, delay=delay, late=late))


def _number(step: Step, node: ir.Node, value: ir.Value) -> float:
    number = always(step, node, value) if isinstance(step.status(value), OfSizes | Fixed) else None
    if number is None:
        step.refuse(node, "pads with what the model computes")
    return float(number.reshape(-1)[0])


def _filled_before(
    step: Step, node: ir.Node, here: ir.Value, status: Timed, delay: int, left: int, fill: float
) -> ir.Value:
    """`fill` for the first `left` entries, where entry `t - delay` is held."""
    assert here.shape is not None and here.dtype is not None
    name = f"{node.outputs[0].name}/filled"
    first = in_front(step, here, delay, left, name)
    filler = step.constant(f"{name}/with", fill, here.dtype.numpy())
    return step.add("Where", [first, filler, here], list(here.shape), name, dtype=here.dtype)


def _concat(step: Step, node: ir.Node) -> None:
    values = [v for v in node.inputs if v is not None]
    shapes = [v.shape for v in values]
    assert shapes[0] is not None
    axis = node.attributes["axis"].as_int() % len(shapes[0])
    timed = [v for v in values if _is_timed(step.status(v))]
    if not any(_axis_of(step.status(v)) == axis for v in timed):
        across(step, node)
        return
    step.one_each(node)
    if len(timed) != 1 or any(
        s is None or not isinstance(s[axis], int)
        for s, v in zip(shapes, values, strict=True)
        if v not in timed
    ):
        step.refuse(node, "puts sequences of frames behind each other")
    (data,) = timed
    place = values.index(data)
    status = step.status(data)
    assert isinstance(status, Timed)
    if status.lead is not None:
        status = settled(status)
    before = values[:place]
    if any(isinstance(s := step.status(v), Last) and not (s.kept and s.begins == 0) for v in before):
        step.refuse(node, "puts what the frames so far give in front of them")
    left = sum(number(v.shape[axis]) for v in before if v.shape is not None)
    late = Late(node, BEHIND) if place + 1 < len(values) else status.late
    delay = status.delay - left
    zeros = all(_is_zero(step, node, v) for v in before)
    rows = _joined(step, node, _rows(step, node, before, axis) if left and not zeros else [], axis)
    if status.delay == 0 and len(rows) == 1:
        here = step.held(data, 0)
        status = replace(status, lead=rows[0])
    elif not (zeros and delay < 0) and left:
        delay = max(delay, 0)
        here = _behind(step, node, before, step.held(data, delay + left), status.axis, delay, left)
    else:
        here = step.held(data, status.delay)
    step.give(node.outputs[0], here, replace(status, delay=delay, late=late))


def _is_timed(status: Status) -> bool:
    return isinstance(status, Timed)


def _axis_of(status: Status) -> int | None:
    return status.axis if isinstance(status, Timed) else None


def _is_zero(step: Step, node: ir.Node, value: ir.Value) -> bool:
    if not isinstance(step.status(value), OfSizes | Fixed) or (
        value.const_value is None and not isinstance(step.status(value), OfSizes)
    ):
        return False
    array = always(step, node, value)
    return array is not None and not np.any(array)


def _rows(step: Step, node: ir.Node, before: list[ir.Value], axis: int) -> list[ir.Value]:
    """What stands for the values of a context."""
    parts = []
    for value in before:
        if isinstance(step.status(value), OfSizes):
            array = always(step, node, value)
            if array is None:
                step.refuse(node, "puts a context in front that follows the number of frames")
            parts.append(step.constant(f"{value.name}/always", array, array.dtype))
        else:
            parts.append(_once(step.raw(value), axis))
    return parts


def _once(value: ir.Value, axis: int) -> ir.Value:
    """Without its repetition for every entry of the batch: it broadcasts, and what is made of a constant is one."""
    node = value.producer()
    first = node.inputs[0] if node is not None and node.op_type == "Expand" else None
    if first is None or first.shape is None or value.shape is None or len(first.shape) != len(value.shape):
        return value
    return first if first.shape[axis] == value.shape[axis] else value


def _joined(step: Step, node: ir.Node, rows: list[ir.Value], axis: int) -> list[ir.Value]:
    """As one value, where their other axes are the same."""
    shapes = [[str(d) for i, d in enumerate(row.shape or ()) if i != axis] for row in rows]
    if len(rows) < 2 or any(shape != shapes[0] for shape in shapes):
        return rows
    name = f"{node.outputs[0].name}/in_front"
    value = step.add("Concat", rows, [], name, {"axis": axis})
    value.shape = None  # it is folded, and may have size 1 anywhere
    return [value]


def _behind(
    step: Step, node: ir.Node, before: list[ir.Value], here: ir.Value, axis: int, delay: int, left: int
) -> ir.Value:
    """The context for the first `left` entries, where entry `t - delay` is held."""
    assert here.shape is not None
    name = f"{node.outputs[0].name}/context"
    parts = _rows(step, node, before, axis)
    found = here
    at = left
    for value in reversed(parts):
        assert value.shape is not None
        for entry in reversed(range(number(value.shape[axis]))):
            at -= 1
            first = in_front(step, here, delay, at + 1, f"{name}/{at}")
            row = value
            if value.shape[axis] != 1:
                row = part(step, value, axis, entry, entry + 1, f"{name}/row_{at}")
            found = step.add(
                "Where", [first, row, found], list(here.shape), f"{name}/from_{at}", dtype=here.dtype
            )
    return found
