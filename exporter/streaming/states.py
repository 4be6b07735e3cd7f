"""Frames that are kept: rings of the last few, values that wait, and states that begin late."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from temport.exporter.graph import operators
from temport.exporter.graph.edit import TO_THE_END
from temport.exporter.streaming.shapes import Size, number, times_batch
from temport.exporter.streaming.status import Timed
from temport.exporter.streaming.step import Step


def later(step: Step, value: ir.Value, status: Timed, frames: int) -> ir.Value:
    """What stands for `value`, this many frames later: a ring; before it is full, zeros."""
    here = step.raw(value)
    if frames == 0:
        return here
    assert frames > 0, f"{value.name} cannot come earlier"
    node = _maker(step, value)
    if status.newest:
        step.refuse(node, "depends on the last frame at every frame, and an earlier one of it is needed")
    if status.merged:
        step.refuse(node, "joins batch and frames, and an earlier frame of it is needed")
    lead = status.lead if status.delay < 0 else None
    rows = status.rows
    together = ring(step, node, here, status.axis, frames * rows, "earlier", min(status.delay, 0), lead)
    return part(step, together, status.axis, 0, rows, f"{value.name}/later_{frames}")


def ring(
    step: Step,
    node: ir.Node,
    here: ir.Value,
    axis: int,
    count: int,
    what: str,
    delay: int,
    lead: ir.Value | None = None,
) -> ir.Value:
    """The last `count` entries of what is held and those of this frame, oldest first, along `axis`.

    delay  of what is held: what comes before entry 0 is not kept
    lead   entries before the first that is held, `-delay` rows or one for all; one for all that there are where the
           delay is not negative; None: zeros
    """
    assert here.shape is not None and here.dtype is not None
    dims = list(here.shape)
    rows = number(dims[axis])
    frames = -(-count // rows)
    step.kept = max(step.kept, frames)
    kept_dims: list[Size] = [count if i == axis else dim for i, dim in enumerate(dims)]
    before, as_kept = stored(step, node, kept_dims, here.dtype, what)
    name = f"{here.name}/{what}"
    if lead is not None:
        begun = in_front(step, as_kept, 0, 1, f"{name}/early")
        first = _as_ring(step, lead, axis, len(dims), -delay if delay < 0 else count, count, f"{name}/first")
        as_kept = step.add("Where", [begun, first, as_kept], kept_dims, f"{name}/led", dtype=here.dtype)
    together = step.add(
        "Concat",
        [as_kept, here],
        [count + rows if i == axis else d for i, d in enumerate(dims)],
        name,
        {"axis": axis},
    )
    after = part(step, together, axis, rows, TO_THE_END, f"{name}/next")
    store(step, before, after, delay, here, frames)
    return together


def _as_ring(
    step: Step, lead: ir.Value, axis: int, rank: int, count: int, frames: int, name: str
) -> ir.Value:
    """What a ring of `frames` holds before the first of them: the newest of `count` rows, zeros in front of these."""
    rows = rows_of_lead(step, lead, axis, rank, count, name)
    if frames < count:
        bounds = [step.integers(n) for n in (count - frames, TO_THE_END, axis)]
        rows = step.add("Slice", [rows, *bounds], [], f"{name}/newest")
    elif frames > count:
        pads = step.integers(*((frames - count if i == axis else 0) for i in range(rank)), *[0] * rank)
        rows = step.add("Pad", [rows, pads], [], f"{name}/behind_zeros")
    rows.shape = None
    return rows


def rows_of_lead(step: Step, lead: ir.Value, axis: int, rank: int, count: int, name: str) -> ir.Value:
    """The first `count` entries in front of the frames, as rows along `axis`."""
    bounds = [step.integers(n) for n in (0, count, axis)]
    rows = step.add("Slice", [lead, *bounds], [], f"{name}/first_{count}")
    rows.shape = None  # it is folded, and may have size 1 anywhere
    sizes = step.integers(*(count if i == axis else 1 for i in range(rank)))
    rows = step.add("Expand", [rows, sizes], [], f"{name}/rows_{count}")
    rows.shape = None
    return rows


def part(step: Step, value: ir.Value, axis: int, start: int, stop: int, name: str) -> ir.Value:
    """`value[start:stop]` along one axis."""
    assert value.shape is not None
    size = value.shape[axis]
    assert isinstance(size, int)
    count = len(range(size)[start : min(stop, size)])
    dims = [count if i == axis else d for i, d in enumerate(value.shape)]
    bounds = [step.integers(n) for n in (start, stop, axis)]
    return step.add("Slice", [value, *bounds], dims, name)


def stored(
    step: Step, node: ir.Node, dims: Sequence[Size], dtype: ir.DataType, what: str
) -> tuple[ir.Value, ir.Value]:
    """A state for values of these sizes, and the same in that layout: every state has the batch in front."""
    to_front = _to_front(step, node, dims)
    inner = [dims[i] for i in to_front]
    rows = times_batch(inner[0], step.batch)
    in_front = rows == 1
    shape = inner[1:] if in_front else [*([rows] if rows is not None else inner[:1]), *inner[1:]]
    before = step.state(node, what, shape, dtype)
    given = before
    if not in_front:
        given = reshaped(step, given, inner, f"{before.name}/joined")
    if to_front != sorted(to_front):
        back = [to_front.index(i) for i in range(len(to_front))]
        given = step.add("Transpose", [given], list(dims), f"{before.name}/placed", {"perm": back})
    return before, given


def store(
    step: Step, before: ir.Value, after: ir.Value, delay: int, of: ir.Value | None = None, frames: int = 0
) -> None:
    """Carry `after`, which has the layout of its values; while nothing is held yet the state stays as it is.

    of, frames  as `State` says
    """
    assert before.shape is not None and after.shape is not None
    to_front = _to_front(step, None, list(after.shape))
    if to_front != sorted(to_front):
        dims = [after.shape[i] for i in to_front]
        after = step.add("Transpose", [after], dims, f"{after.name}/kept", {"perm": to_front})
    after = reshaped(step, after, list(before.shape), f"{after.name}/apart")
    step.carry(before, kept_until(step, before, after, delay), of, frames)


def kept_until(step: Step, before: ir.Value, after: ir.Value, delay: int) -> ir.Value:
    """`after` from frame `delay` on, `before` until then."""
    if delay <= 0:
        return after
    assert before.shape is not None
    early = in_front(step, before, 0, delay, after.name or "after")
    dims = list(before.shape)
    return step.add("Where", [early, before, after], dims, f"{after.name}/from_{delay}", dtype=before.dtype)


def in_front(step: Step, here: ir.Value, delay: int, count: int, name: str) -> ir.Value:
    """Whether the entry that is held is one of the first `count`, for `here` to broadcast with."""
    assert here.shape is not None
    first = step.add(
        "Less",
        [step.frames(), step.integers(delay + count)],
        [step.batch, 1],
        f"{name}/first",
        dtype=ir.DataType.BOOL,
    )
    return beside(step, first, list(here.shape), f"{name}/first/axes")


def within_horizon(step: Step, rows: int, in_front: int = 0) -> int:
    """Entries that attention without a window sees, where `rows` come with each frame."""
    step.uses_horizon = True
    if rows > 1:
        seen = rows * step.horizon
        step.told.append(
            f"where {rows} tokens come with each frame, one sees the last {seen} then, its own included"
        )
    return rows * (step.horizon + in_front)


def empty_rows(step: Step, count: int, rows: int, delay: int) -> ir.Value:
    """Which of the newest `count` entries, oldest first, have not come with the frame that is held, bool
    `[batch, count]`; `rows` come with each."""
    name = f"frames/empty_{count}_by_{rows}_after_{delay}"
    place = step.frames(delay)
    for node, _ in place.uses():
        if node.outputs[0].name == name:
            return node.outputs[0]
    ages = step.constant(f"ages/{count}_by_{rows}", np.arange(count)[::-1] // rows)
    return step.add("Less", [place, ages], [step.batch, count], name, dtype=ir.DataType.BOOL)


def beside(step: Step, value: ir.Value, dims: Sequence[Size], name: str) -> ir.Value:
    """`[batch, 1]`, one number for each stream, for a value of these sizes to broadcast with."""
    place = _batch_place(step, dims)
    return reshaped(step, value, [step.batch if i == place else 1 for i in range(len(dims))], name)


def beside_last(step: Step, value: ir.Value, dims: Sequence[Size], name: str) -> ir.Value:
    """`[batch, count]`, numbers for each stream along the last axis, for a value of these sizes to broadcast with."""
    assert value.shape is not None
    place, last = _batch_place(step, dims), len(dims) - 1
    sizes = [step.batch if i == place else value.shape[1] if i == last else 1 for i in range(len(dims))]
    return reshaped(step, value, sizes, name)


def reshaped(step: Step, value: ir.Value, dims: Sequence[Size], name: str) -> ir.Value:
    """The same elements in these sizes, of which one at most is open."""
    same = had_before(value, dims)
    if same is not None:
        return same
    numbers = [d if isinstance(d, int) else -1 for d in dims]
    assert numbers.count(-1) <= 1, f"{dims} has two open sizes"
    return step.add("Reshape", [value, step.integers(*numbers)], list(dims), name)


def had_before(value: ir.Value, dims: Sequence[Size]) -> ir.Value | None:
    """The value, or one that it was renamed from, that has these sizes."""
    while value.shape is None or list(value.shape) != list(dims):
        node = value.producer()
        if node is None or not operators.of(node).renames or node.inputs[0] is None:
            return None
        value = node.inputs[0]
    return value


def _to_front(step: Step, node: ir.Node | None, dims: Sequence[Size]) -> list[int]:
    """The order of axes that has the batch in front."""
    order = list(range(len(dims)))
    if step.batch == 1:
        return order
    place = next((i for i in order if times_batch(dims[i], step.batch) is not None), None)
    if place is None:
        assert node is not None
        step.refuse(node, "keeps earlier frames of a value that has no batch")
    return [place, *(i for i in order if i != place)]


def _batch_place(step: Step, dims: Sequence[Size]) -> int:
    """The axis of the batch in a value of these sizes."""
    return 0 if step.batch == 1 else next(i for i, d in enumerate(dims) if d == step.batch)


def _maker(step: Step, value: ir.Value) -> ir.Node:
    """The node that a value is made by, or the first that takes it."""
    return value.producer() or next(iter(value.uses())).node
