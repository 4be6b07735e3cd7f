"""Values that meet in a node: what time is to their result, and all of them at the same frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from temport.exporter.streaming.positions import in_frame, so_far
from temport.exporter.streaming.shapes import Size, along_time, entries, frame_size, times_batch
from temport.exporter.streaming.status import Last, OfSizes, Status, Timed
from temport.exporter.streaming.step import Step, changes, joined_last, joined_late


def join(step: Step, node: ir.Node, rank: int, values: Sequence[ir.Value | None] | None = None) -> Status:
    """What time is to a value of `rank` axes to which these (default: all inputs) broadcast."""
    given = [v for v in (node.inputs if values is None else values) if v is not None]
    statuses = {v: step.status(v) for v in given}
    timed = {v: s for v, s in statuses.items() if isinstance(s, Timed)}
    last = [s for s in statuses.values() if isinstance(s, Last)]
    if not timed:
        by_position = [v for v, s in statuses.items() if isinstance(s, OfSizes) and _frames(v) is not None]
        if by_position and last:
            step.refuse(node, "joins the last frame with every position")
        if by_position:
            (value, *_), place = by_position, _frames(by_position[0]) or 0
            shape = list(value.shape or ())
            return Timed(rank - len(shape) + place, rows=entries(shape[place]) or 1)
        return joined_last(last)
    axes = {rank - len(v.shape or ()) + s.axis for v, s in timed.items()}
    if len(axes) > 1:
        step.refuse(node, "compares each frame with each other")
    lengths = {(step.extra(node, v), s.rows) for v, s in timed.items()}
    if len(lengths) > 1:
        step.refuse(node, "joins sequences of different lengths")
    delay = max([0, *(s.delay for s in timed.values())])
    return Timed(
        axes.pop(),
        delay,
        merged=any(s.merged for s in timed.values()),
        rows=next(iter(timed.values())).rows,
        newest=any(changes(s, delay) for s in last) or any(s.newest for s in timed.values()),
        late=joined_late(list(statuses.values())),
    )


def joined_inputs(step: Step, node: ir.Node, joined: Status) -> list[ir.Value | None]:
    """What stands for the inputs of a node, all of the same frame."""
    delay = joined.delay if isinstance(joined, Timed) else 0
    found: list[ir.Value | None] = []
    for value in node.inputs:
        if value is None:
            found.append(None)
        elif not isinstance(step.status(value), OfSizes):
            found.append(step.held(value, delay))
        elif isinstance(joined, Last):
            found.append(so_far(step, node, value))
        else:
            found.append(in_frame(step, node, value, delay))
    return found


def settled(status: Timed) -> Timed:
    """What is held where nothing is held early."""
    return replace(status, delay=max(status.delay, 0), lead=None)


def whole_inputs(
    step: Step, node: ir.Node, joined: Status, values: Sequence[ir.Value | None]
) -> list[ir.Value | None]:
    """Values of the same frame that are joined side by side: those of sizes alone have to have all entries."""
    delay = joined.delay if isinstance(joined, Timed) else 0
    found: list[ir.Value | None] = []
    for value in values:
        if value is not None and isinstance(step.status(value), OfSizes):
            here = in_frame(step, node, value, delay)
            dims = [frame_size(d) for d in value.shape or ()]
            if list(here.shape or ()) != dims:
                here = step.add(
                    "Expand", [here, sizes(step, dims)], dims, f"{here.name}/whole", dtype=here.dtype
                )
            found.append(here)
        else:
            found.append(None if value is None else step.held(value, delay))
    return found


def sizes(step: Step, dims: Sequence[Size]) -> ir.Value:
    """A shape as a value."""
    numbers = [d if isinstance(d, int) else None for d in dims]
    if None not in numbers:
        return step.integers(*[n for n in numbers if n is not None])
    parts: list[ir.Value] = []
    for dim in dims:
        if isinstance(dim, int):
            parts.append(step.integers(dim))
            continue
        count = times_batch(dim, step.batch)
        assert count is not None, f"{dim.value} is no multiple of the batch"
        first = step.graph.inputs[0]
        batch = step.add("Shape", [first], [1], "batch/size", {"start": 0, "end": 1}, dtype=ir.DataType.INT64)
        if count != 1:
            batch = step.add("Mul", [batch, step.integers(count)], [1], "batch/rows")
        parts.append(batch)
    return step.add("Concat", parts, [len(parts)], "sizes", {"axis": 0})


def _frames(value: ir.Value) -> int | None:
    places = [i for i, d in enumerate(value.shape or ()) if along_time(d)]
    return places[0] if places else None
