"""What is computed of sizes alone, in one frame: numbers, constants, and tables of which a frame takes its row."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.graph import operators
from temport.exporter.graph.edit import named
from temport.exporter.graph.evaluate_part import Part, UnknownPart
from temport.exporter.streaming.counted import Counting
from temport.exporter.streaming.read_waves import read_waves
from temport.exporter.streaming.refusal import NotCausal
from temport.exporter.streaming.shapes import (
    TIME,
    Size,
    along_time,
    axes_of_time,
    entries,
    frame_size,
    times_batch,
)
from temport.exporter.streaming.states import beside, in_front, reshaped
from temport.exporter.streaming.step import Step
from temport.exporter.streaming.waves import counted_waves

Array = npt.NDArray[Any]
AFTER_TABLE = "the stream has ended, as the table of its positions has"
BEHIND_TABLE = "positions follow the formula that their table has"
"""What happens when a stream is longer than what is known of positions."""
LARGEST = 2**24
"""Numbers of a table of positions that are looked at."""


def lengths(step: Step) -> list[int]:
    """Lengths at which parts are evaluated, the longest last."""
    axis = step.declaration.axes[TIME]
    wanted = {axis.min, axis.min + 1, axis.min + 2, axis.opt, axis.max // 2, axis.max}
    return sorted(n for n in wanted if axis.min <= n <= axis.max)


def linear(step: Step, node: ir.Node, value: ir.Value) -> list[tuple[int, int]]:
    """Each of the whole numbers of `value` as `(a, b)`, where it is `a * frames + b`; refused where one is not."""
    if value.const_value is not None:
        return [(0, int(n)) for n in value.const_value.numpy().reshape(-1)]
    samples = lengths(step)
    found = [[int(n) for n in _at(step, node, value, frames).reshape(-1)] for frames in samples]
    numbers: list[tuple[int, int]] = []
    if len({len(each) for each in found}) > 1:
        step.refuse(node, "takes as many places as there are frames")
    for each in zip(*found, strict=True):
        slope = 0 if len(samples) == 1 else (each[-1] - each[0]) // (samples[-1] - samples[0])
        numbers.append((slope, each[0] - slope * samples[0]))
        if any(n != slope * frames + numbers[-1][1] for n, frames in zip(each, samples, strict=True)):
            step.refuse(node, "takes places that follow the number of frames in another way than one by one")
    return numbers


def always(step: Step, node: ir.Node, value: ir.Value) -> Array | None:
    """The one array that `value` is at all lengths, its batch cut to one entry; None where it follows the length."""
    if value.const_value is not None:
        return np.asarray(value.const_value.numpy())
    if value.shape is None or axes_of_time(list(value.shape)):
        return None
    first, *others = (_at(step, node, value, frames) for frames in lengths(step))
    return first if all(np.array_equal(first, other) for other in others) else None


def in_frame(step: Step, node: ir.Node, value: ir.Value, delay: int) -> ir.Value:
    """What a value of sizes alone is in the frame that is held with `delay`, for node's first output to broadcast."""
    key = (value, delay, str(node.outputs[0].shape))
    if key not in step.in_frame:
        step.in_frame[key] = _in_frame(step, node, value, delay)
    return step.in_frame[key]


def so_far(step: Step, node: ir.Node, value: ir.Value) -> ir.Value:
    """What a value of sizes alone is where the stream ends here, beside what is of the frames so far: their number."""
    constant = always(step, node, value)
    if constant is not None:
        return step.constant(named(value, "always"), constant, constant.dtype)
    output = node.outputs[0]
    if any(size != 1 for size in value.shape or ()) or output.shape is None:
        return in_frame(step, node, value, 0)
    here = _of_count(step, node, value)
    return beside(step, here, list(output.shape), f"{here.name}/axes")


def _of_count(step: Step, node: ir.Node, value: ir.Value) -> ir.Value:
    """A number that follows the number of frames, `[batch, 1]`: by a factor and a sum, or by element of such."""
    name, row, kind = named(value, "so_far"), [step.batch, 1], value.dtype
    assert kind is not None
    numbers = [_at(step, node, value, frames).reshape(()) for frames in lengths(step)]
    counts = np.array(lengths(step))
    slope = (numbers[-1] - numbers[0]) / max(counts[-1] - counts[0], 1)
    offset = numbers[0] - slope * counts[0]
    if np.array_equal(numbers, slope * counts + offset):
        here = step.add("Add", [step.frames(), step.integers(1)], row, "frames/so_far")
        here = step.add("Cast", [here], row, f"{name}/cast", {"to": kind.value}, dtype=kind)
        for op, number, nothing in (("Mul", slope, 1), ("Add", offset, 0)):
            if number != nothing:
                factor = step.constant(f"{name}/{op.lower()}", number, kind.numpy())
                here = step.add(op, [here, factor], row, f"{name}/{op.lower()}ed")
        return here
    maker = value.producer()
    if maker is None or not operators.of(maker).elementwise:
        raise NotCausal(node, f"takes the number of frames through {maker.op_type if maker else value.name}")
    inputs = [
        None if v is None else step.raw(v) if v.const_value is not None else _of_count(step, node, v)
        for v in maker.inputs
    ]
    attributes = {key: a.value for key, a in maker.attributes.items()}
    return step.add(maker.op_type, inputs, row, name, attributes, dtype=kind)


def _in_frame(step: Step, node: ir.Node, value: ir.Value, delay: int) -> ir.Value:
    shape = list(value.shape or ())
    constant = always(step, node, value)
    if constant is not None:
        return step.constant(named(value, "always"), constant, constant.dtype)
    axes = axes_of_time(shape)
    if not axes:
        step.refuse(node, "takes the number of all frames, later ones too")
    if len(axes) > 1:
        step.refuse(node, "compares each frame with each other")
    (axis,) = axes
    counting = Counting(step, delay, lambda given: always(step, node, given)).counted(value)
    if counting is not None:
        return _placed(step, node, value, counting, axis)
    table = table_of(step, node, value, axis)
    if (
        all(np.array_equal(table[:1], table[i : i + 1]) for i in (1, len(table) // 2, len(table) - 1))
        and (table == table[:1]).all()
    ):
        row = table[0]
        return step.constant(named(value, "always"), row, row.dtype)
    table = _to_its_end(step, node, value, table, axis)
    known = read_waves(table.reshape(len(table), -1))
    if known is not None and value.dtype is not None:
        waves, exact = known
        here = counted_waves(step, waves, delay, value.dtype, named(value, "waves"))
        here = _placed(step, node, value, here, axis)
        if exact:
            return here
        # numbers whose angles were rounded are kept as far as they are known
        step.limits.append((len(table), BEHIND_TABLE))
        return _table_first(step, node, value, table, axis, delay, here)
    step.limits.append((len(table), AFTER_TABLE))
    return by_position(step, node, value, table, axis, delay)


def _to_its_end(step: Step, node: ir.Node, value: ir.Value, table: Array, axis: int) -> Array:
    """The table as long as the module has it, longer than the longest sequence that was looked at."""

    def longer(frames: int) -> Array | None:
        try:
            found = _by_frame(_at(step, node, value, frames), value, axis)
        except NotCausal:  # it ends before
            return None
        return found if len(found) == frames and np.array_equal(found[: len(table)], table) else None

    most = max(len(table), LARGEST // max(table[0].size, 1))
    if longer(most) is not None:  # it is computed, and has no end
        return table
    counts = range(len(table) + 1, most + 1)
    count = bisect.bisect_left(counts, True, key=lambda n: longer(n) is None)
    whole = longer(len(table) + count)
    return table if whole is None else whole


def _table_first(
    step: Step, node: ir.Node, value: ir.Value, table: Array, axis: int, delay: int, waves: ir.Value
) -> ir.Value:
    """`waves` behind the last position of the table."""
    row = by_position(step, node, value, table, axis, delay)
    inside = in_front(step, row, delay, len(table), named(value, "table"))
    return step.add(
        "Where", [inside, row, waves], list(row.shape or ()), named(value, "table_first"), dtype=row.dtype
    )


def table_of(step: Step, node: ir.Node, value: ir.Value, axis: int) -> Array:
    """The rows by position, `[positions, *shape]` with time as it is in one frame, as many as there can be; refused
    where a shorter one is not their start."""
    *shorter, longest = (_by_frame(_at(step, node, value, n), value, axis) for n in lengths(step))
    for table in shorter:
        if not np.array_equal(table, longest[: len(table)]):
            step.refuse(node, "takes positions that are counted from the last frame")
    return longest


def _by_frame(array: Array, value: ir.Value, axis: int) -> Array:
    """`[positions, *shape]`: what is of one frame together, its entries along `axis`."""
    assert value.shape is not None
    rows = entries(value.shape[axis]) or 1
    apart = array.reshape(*array.shape[:axis], -1, rows, *array.shape[axis + 1 :])
    return np.moveaxis(apart, axis, 0)


def by_position(step: Step, node: ir.Node, value: ir.Value, table: Array, axis: int, delay: int) -> ir.Value:
    """`table[position]` for each stream, with as many axes as the node's output."""
    return _placed(step, node, value, row_at(step, named(value, "by_position"), table, delay), axis)


def row_at(step: Step, name: str, table: Array, delay: int) -> ir.Value:
    """`[batch, 1, width]`: the row of a table at the place of the entry that is held with `delay`; behind its end the
    last."""
    rows = step.constant(name, table.reshape(len(table), -1), table.dtype)
    index = step.frames(delay)
    if delay > 0:
        index = step.add("Max", [index, step.integers(0)], [step.batch, 1], f"{index.name}/from_0")
    index = step.add(
        "Min", [index, step.integers(len(table) - 1)], [step.batch, 1], f"{index.name}/to_{len(table) - 1}"
    )
    width = table.size // len(table)
    return step.add("Gather", [rows, index], [step.batch, 1, width], f"{name}/row", {"axis": 0})


def matrix(step: Step, node: ir.Node, value: ir.Value) -> Array:
    """A value with two axes of positions, `[positions, positions]`, as many as there can be; refused where it has
    others, or where a shorter one is not its beginning."""
    *shorter, longest = (_at(step, node, value, n) for n in lengths(step))
    if longest.size != longest.shape[-1] ** 2:
        step.refuse(node, "compares each frame with each other by more than one table")
    square = longest.reshape(longest.shape[-1], -1)
    for each in shorter:
        frames = each.shape[-1]
        if not np.array_equal(each.reshape(frames, -1), square[:frames, :frames]):
            step.refuse(node, "takes positions that are counted from the last frame")
    return square


def _placed(step: Step, node: ir.Node, value: ir.Value, row: ir.Value, axis: int) -> ir.Value:
    """A row for each stream, its batch in front, on the axes that node's output has."""
    output = node.outputs[0]
    assert output.shape is not None and value.shape is not None
    rank, own = len(output.shape), len(value.shape)
    sizes: list[Size] = [
        *[1] * (rank - own),
        *(frame_size(d) if i == axis else d if isinstance(d, int) else 1 for i, d in enumerate(value.shape)),
    ]
    place = next(
        (
            i
            for i, dim in enumerate(output.shape)
            if i != axis + rank - own and not along_time(dim) and times_batch(dim, step.batch) == 1
        ),
        0,
    )
    if step.batch != 1:
        if sizes[place] != 1:
            step.refuse(node, "takes positions where batch and other axes are one")
        sizes[place] = step.batch
    if place == 0 or step.batch == 1:
        return reshaped(step, row, sizes, named(value, "in_frame"))
    front: Sequence[Size] = [step.batch, *(s for i, s in enumerate(sizes) if i != place)]
    row = reshaped(step, row, front, named(value, "batch_first"))
    perm = [*range(1, place + 1), 0, *range(place + 1, rank)]
    return step.add("Transpose", [row], sizes, named(value, "in_frame"), {"perm": perm})


def _at(step: Step, node: ir.Node, value: ir.Value, frames: int) -> Array:
    """The value where there are so many frames, the same for all of a batch."""
    axes = step.declaration.axes
    sizes = {name: frames if name == TIME else axis.opt for name, axis in axes.items()}
    try:
        array = Part(value).at(sizes)
    except UnknownPart as error:
        step.refuse(node, f"takes what cannot be computed from sizes: {error}")
    for i, dim in enumerate(value.shape or ()):
        if not isinstance(step.batch, int) and times_batch(dim, step.batch) == 1:
            first = np.take(array, [0], axis=i)
            if not (array == first).all():
                step.refuse(node, "takes what differs from stream to stream by its place in the batch")
            array = first
    return array
