"""Slice and Gather along time: the last frame, one before it, all from one on, or those up to one; of several entries
for each frame, some of each, or some of the last frames."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from temport.exporter.streaming.joining import settled
from temport.exporter.streaming.positions import always, linear
from temport.exporter.streaming.shapes import along_time, extra
from temport.exporter.streaming.states import in_front, part, ring, store, stored
from temport.exporter.streaming.status import Last, Late, OfSizes, Timed
from temport.exporter.streaming.step import Step, joined_last

BEYOND = 2**31 - 1
"""An end that means the last frame."""
FOLLOWING = "takes frames that come after the one that it gives"


def selected(step: Step, node: ir.Node) -> None:
    if node.op_type == "Slice":
        _slice(step, node)
    else:
        _gather(step, node)


def _gather(step: Step, node: ir.Node) -> None:
    data, index = node.inputs
    assert data is not None and index is not None and data.shape is not None and index.shape is not None
    axis = (node.attributes["axis"].as_int() if "axis" in node.attributes else 0) % len(data.shape)
    status, of_index = step.status(data), step.status(index)
    if isinstance(status, Timed) and axis == status.axis:
        if isinstance(of_index, Timed | Last):
            step.refuse(node, "picks frames by what the model computes")
        places = linear(step, node, index)
        if len(places) != 1:
            step.refuse(node, "picks several frames")
        found = _one_entry(step, node, data, status, places[0])
        _give_last(step, node, found, None if len(index.shape) == 1 else axis)
        return
    if isinstance(of_index, OfSizes):
        numbers = always(step, node, index)
        if numbers is None:
            step.refuse(node, "picks features by position")
        here = step.constant(f"{index.name}/always", numbers, numbers.dtype)
    else:
        here = step.held(index)
    if isinstance(status, Timed):
        if isinstance(of_index, Timed):
            step.refuse(node, "picks features by what the model computes")
        behind = len(index.shape) - 1 if axis < status.axis else 0
        status = replace(status, axis=status.axis + behind, delay=max(status.delay, 0))
        step.copy(node, [step.held(data), here], status)
    elif isinstance(of_index, Timed):
        if isinstance(status, Last | OfSizes):
            step.refuse(node, "picks from what is no table of constants")
        picked = replace(of_index, axis=of_index.axis + axis, delay=max(of_index.delay, 0), lead=None)
        step.copy(node, [step.raw(data), here], picked)
    elif isinstance(status, OfSizes):
        step.refuse(node, "is computed from positions together with something else")
    else:
        step.copy(node, [step.raw(data), here], joined_last([status, of_index]))


def _slice(step: Step, node: ir.Node) -> None:
    data, starts, ends, axes, steps = [*node.inputs, None, None][:5]
    assert data is not None and starts is not None and ends is not None and data.shape is not None
    status = step.status(data)
    rank = len(data.shape)
    count = len(linear(step, node, starts))
    numbers = list(range(count)) if axes is None else [int(a) % rank for (a,) in _plain(step, node, axes)]
    strides = [1] * count if steps is None else [int(s) for (s,) in _plain(step, node, steps)]
    if not isinstance(status, Timed) or status.axis not in numbers:
        bounds = [_always(step, node, v) for v in (starts, ends)]
        rest = [None if v is None else step.raw(v) for v in (axes, steps)]
        if isinstance(status, OfSizes):
            step.refuse(node, "is computed from positions together with something else")
        status = replace(status, delay=max(status.delay, 0)) if isinstance(status, Timed) else status
        step.copy(node, [step.held(data), *bounds, *rest], status)
        return
    if count > 1:
        step.refuse(node, "cuts frames and something else at once")
    (start,), (stop,) = linear(step, node, starts), linear(step, node, ends)
    if strides == [1]:
        _frames_from_to(step, node, data, status, start, stop)
    elif strides[0] > 1 and status.rows % strides[0] == 0 and not status.merged:
        _some_of_each(step, node, data, status, start, strides[0])
    else:
        step.refuse(node, "turns the order of frames" if strides[0] < 0 else "leaves out frames")


def _some_of_each(
    step: Step, node: ir.Node, data: ir.Value, status: Timed, start: tuple[int, int], stride: int
) -> None:
    """Of several entries for each frame the same ones of all: each `stride`-th from `start` on."""
    (output,), rows = node.outputs, status.rows // stride
    assert output.shape is not None
    slope, first = start
    even = extra(output.shape[status.axis], rows) == step.extra(node, data) * rows
    if slope or not 0 <= first < stride or not even:
        step.refuse(node, "leaves out entries in another way in some frames than in others")
    bounds = [step.integers(n) for n in (first, BEYOND, status.axis, stride)]
    step.copy(node, [step.held(data), *bounds], replace(settled(status), rows=rows))


def _plain(step: Step, node: ir.Node, value: ir.Value) -> list[tuple[int]]:
    numbers = always(step, node, value)
    if numbers is None:
        step.refuse(node, "cuts along axes that follow the number of frames")
    return [(int(n),) for n in numbers.reshape(-1)]


def _always(step: Step, node: ir.Node, value: ir.Value) -> ir.Value:
    if not isinstance(step.status(value), OfSizes):
        return step.raw(value)
    numbers = always(step, node, value)
    if numbers is None:
        step.refuse(node, "cuts features by the number of frames")
    return step.constant(f"{value.name}/always", numbers, numbers.dtype)


def _frames_from_to(
    step: Step, node: ir.Node, data: ir.Value, status: Timed, start: tuple[int, int], stop: tuple[int, int]
) -> None:
    """Frames `start` to `stop`, each `(a, b)` for `a * frames + b`."""
    (output,) = node.outputs
    assert output.shape is not None
    assert data.shape is not None
    if status.merged and list(output.shape) != list(data.shape):
        step.refuse(node, "takes some of the frames where batch and frames are one axis")
    rows = status.rows
    first = _from_the_start(step, node, data, start)
    if along_time(output.shape[status.axis]):
        if first[0]:
            step.refuse(node, "takes frames from the end on, as many as there are frames")
        if first[1] % rows:
            step.refuse(
                node, "leaves out some of a frame's entries, so that those of a frame are no longer together"
            )
        delay, lead = status.delay + first[1] // rows, status.lead
        if lead is not None and first[1]:
            left = step.integers(min(delay, -1))
            bounds = [left, step.integers(BEYOND), step.integers(status.axis)]
            lead = step.add("Slice", [lead, *bounds], [], f"{output.name}/lead")
            lead.shape = None  # it is folded, and may have size 1 anywhere
        late = _late(node, status, first[1] // rows)
        step.give(output, step.raw(data), replace(status, delay=delay, late=late, lead=lead))
        return
    behind = _from_the_start(step, node, data, stop)
    if not first[0] and not behind[0] and first[1] // rows == (behind[1] - 1) // rows:
        found = _kept_frame(step, node, data, status, first[1] // rows)
        entry = first[1] % rows
        _give_last(step, node, _cut(step, node, found, status, entry, entry + behind[1] - first[1]))
        return
    if not first[0] or not behind[0]:
        step.refuse(node, "takes the first frames, however many come after them")
    stop_at = min(behind[1], step.more(node, data))
    _give_last(step, node, _last_entries(step, node, data, status, first[1], stop_at))


def _from_the_start(step: Step, node: ir.Node, data: ir.Value, place: tuple[int, int]) -> tuple[int, int]:
    """A place along the axis of frames, counted from its start as `a * frames + b` in entries."""
    (slope, offset), status = place, step.status(data)
    assert isinstance(status, Timed)
    rows, more = status.rows, step.more(node, data)
    if slope == 0 and offset >= BEYOND:
        return rows, more
    if slope == 0 and offset < 0:
        return rows, offset + more
    if slope not in (0, rows):
        step.refuse(node, "takes places that follow the number of frames in another way than one by one")
    return place


def _late(node: ir.Node, status: Timed, frames: int) -> Late | None:
    return Late(node, FOLLOWING) if frames > 0 else status.late


def _one_entry(
    step: Step, node: ir.Node, data: ir.Value, status: Timed, place: tuple[int, int]
) -> tuple[ir.Value, Last]:
    slope, offset = _from_the_start(step, node, data, place)
    if slope:
        return _last_entries(step, node, data, status, offset, offset + 1)
    frame, entry = divmod(offset, status.rows)
    found = _kept_frame(step, node, data, status, frame)
    return _cut(step, node, found, status, entry, entry + 1)


def _last_entries(
    step: Step, node: ir.Node, data: ir.Value, status: Timed, first: int, behind: int
) -> tuple[ir.Value, Last]:
    """Entries `first` to `behind`, both counted from entry `rows * frames` on."""
    rows = status.rows
    oldest, newest = first // rows, (behind - 1) // rows
    found = _last_frames(step, node, data, status, newest - oldest + 1, -1 - newest)
    return _cut(step, node, found, status, first - oldest * rows, behind - oldest * rows)


def _cut(
    step: Step, node: ir.Node, found: tuple[ir.Value, Last], status: Timed, start: int, stop: int
) -> tuple[ir.Value, Last]:
    """Some of the entries of frames."""
    value, last = found
    assert value.shape is not None
    if stop - start == value.shape[status.axis]:
        return found
    return part(step, value, status.axis, start, stop, f"{node.outputs[0].name}/entries"), last


def _give_last(step: Step, node: ir.Node, found: tuple[ir.Value, Last], squeezed: int | None = None) -> None:
    """The output, without the axis that is squeezed."""
    (output,), (value, last) = node.outputs, found
    if squeezed is not None:
        dims = [d for i, d in enumerate(value.shape or ()) if i != squeezed]
        value = step.add("Squeeze", [value, step.integers(squeezed)], dims, output.name or "last")
    step.give(output, value, last)


def _last_frames(
    step: Step, node: ir.Node, data: ir.Value, status: Timed, count: int, back: int
) -> tuple[ir.Value, Last]:
    """`count` frames, the newest of them `back` before the last that comes."""
    # at the last frame, frames - 1, entry frames - 1 - delay is held
    waits = back - status.delay
    if waits < 0:
        late = status.late or Late(node, FOLLOWING)
        step.refuse(late.node, late.needs)
    if status.newest and (waits or count > 1):
        step.refuse(node, "depends on the last frame at every frame, and an earlier one of it is needed")
    if status.merged:
        step.refuse(node, "takes the last frame where batch and frames are one axis")
    newest = step.held(data, status.delay + waits)
    if count > 1:
        newest = ring(step, node, newest, status.axis, (count - 1) * status.rows, "last", 0)
    return newest, Last(max(status.delay + waits, 0) + count - 1)


def _kept_frame(
    step: Step, node: ir.Node, data: ir.Value, status: Timed, place: int
) -> tuple[ir.Value, Last]:
    """One frame counted from the first, kept for ever."""
    (output,) = node.outputs
    if status.newest or status.merged:
        step.refuse(node, "keeps a frame of what changes with every frame")
    here = step.held(data)
    delay = max(status.delay, 0)
    assert here.shape is not None and here.dtype is not None
    before, kept = stored(step, node, list(here.shape), here.dtype, "kept")
    first = in_front(step, here, delay, place + 1, output.name or "kept")
    after = step.add("Where", [first, here, kept], list(here.shape), f"{output.name}/kept", dtype=here.dtype)
    store(step, before, after, 0)
    return after, Last(delay + place, kept=True)
