"""Products along time with a matrix of positions: powers of a decay are an average, a band is a ring.

What the matrix says is read from its numbers, at every length that it may have. Row t weighs the frames; where no row
weighs a later frame than its own, by more than a fixed number of frames, a stream can follow it:

    row t = scale[t] * weight[age of the frame]

with `scale` one number, or one per position.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.graph.evaluate_part import Part, UnknownPart
from temport.exporter.streaming.positions import AFTER_TABLE, by_position, lengths
from temport.exporter.streaming.rules.running import added
from temport.exporter.streaming.shapes import TIME, axes_of_time
from temport.exporter.streaming.states import ring, store, stored
from temport.exporter.streaming.status import Late, OfSizes, Timed
from temport.exporter.streaming.step import Step

Array = npt.NDArray[Any]
SUMS = "sums over all frames, later ones too"
AFTER_WEIGHTS = "a product along time takes as many frames as there are weights"
TIMES = ir.SymbolicDim(TIME)
CLOSE = 1e-5
"""How far weights in float32 may be from a rule, of the rule's own value; and `TINY` where that is nearly zero."""
TINY = 1e-7


@dataclass(frozen=True)
class Weights:
    """Row t of the matrix is `scale[t] * weights[t + ahead - s]` for frame s, arrays `[..., places]`.

    ahead  frames behind its own that a row weighs
    scale  `[..., rows]`; None where all are 1
    """

    weights: Array
    ahead: int
    scale: Array | None

    @property
    def decay(self) -> Array | None:
        """`[...]`, where the weights are the powers of one number each, times the first."""
        first = self.weights[..., :1]
        if self.ahead or not (first != 0).all():
            return None
        ratio = self.weights / first
        ages = np.arange(ratio.shape[-1])
        if ratio.shape[-1] < 3:
            return None
        # the oldest weight that is not lost in float32 says the decay best
        seen = np.where(np.abs(ratio) > 1e-3, ages, 0).max(-1)
        last = np.take_along_axis(ratio, seen[..., None], -1)[..., 0]
        if (last < 0).any():
            return None
        decay = np.where(seen > 0, last ** (1 / np.maximum(seen, 1)), 0.0)
        return decay if np.allclose(decay[..., None] ** ages, ratio, rtol=CLOSE * 10, atol=TINY) else None

    @property
    def count(self) -> int:
        """Frames that a row weighs: all ages behind them have no weight."""
        weighed = np.flatnonzero((self.weights != 0).reshape(-1, self.weights.shape[-1]).any(0))
        return int(weighed[-1]) + 1 if len(weighed) else 1


def weighed_frames(step: Step, node: ir.Node) -> None:
    """MatMul of a matrix of positions and frames, in either order."""
    left, right = node.inputs
    (output,) = node.outputs
    assert left is not None and right is not None and output.shape is not None
    of_sizes = [v for v in (left, right) if isinstance(step.status(v), OfSizes)]
    if len(of_sizes) != 1:
        step.refuse(node, "multiplies tables of positions")
    table, data = of_sizes[0], right if of_sizes[0] is left else left
    on_left = table is left
    assert table.shape is not None and data.shape is not None
    status, rank = step.status(data), len(table.shape)
    if not isinstance(status, Timed) or status.merged or status.newest:
        step.refuse(node, "multiplies a table of positions with something else than frames")
    place = len(data.shape) - (2 if on_left else 1)
    if (
        axes_of_time(list(table.shape)) != [rank - 2, rank - 1]
        or status.axis != place
        or step.extra(node, data)
    ):
        step.refuse(node, "multiplies with a table of positions")
    found = read(step, node, table, on_left)
    delay = max(status.delay, 0)
    here = step.held(data, delay)
    shift = found.ahead
    late = Late(node, f"weighs frames that come after, {shift} of them") if shift else status.late
    dims = [
        1 if i == len(output.shape) - (2 if on_left else 1) else d
        for i, d in enumerate(step.shape(output, Timed(len(output.shape) - (2 if on_left else 1))))
    ]
    decay = found.decay
    if decay is not None:
        value = _average(step, node, here, dims, decay, found.weights[..., 0], delay)
    else:
        if found.count >= found.weights.shape[-1]:
            step.limits.append((found.weights.shape[-1], AFTER_WEIGHTS))
        value = _of_ring(step, node, here, dims, found, delay, on_left)
    if found.scale is not None:
        rows = np.moveaxis(found.scale, -1, 0)[..., None].astype(np.float32)
        axis = rows.ndim - (2 if on_left else 1)
        sizes = [*rows.shape[1:-1], *((TIMES, 1) if on_left else (1, TIMES))]
        step.limits.append((len(rows), AFTER_TABLE))
        like = ir.Value(name=f"{output.name}/scale", shape=ir.Shape(sizes))
        scale = by_position(step, node, like, rows, axis, delay)
        value = step.add("Mul", [value, scale], dims, f"{output.name}/scaled")
    step.give(
        output, value, replace(status, axis=len(dims) - (2 if on_left else 1), delay=delay + shift, late=late)
    )


def read(step: Step, node: ir.Node, table: ir.Value, on_left: bool) -> Weights:
    """What the matrix says; refused where it weighs frames far behind its own, or where a longer one says else."""
    matrices = [_at(step, node, table, frames, on_left) for frames in lengths(step)]
    longest = matrices[-1]
    for shorter in matrices[:-1]:
        frames = shorter.shape[-1]
        if not _close(shorter, longest[..., :frames, :frames]):
            step.refuse(node, "weighs frames by a table that changes with their number")
    frames = longest.shape[-1]
    age = np.arange(frames)[:, None] - np.arange(frames)
    weighed = (longest != 0).reshape(-1, frames, frames).any(0)
    ahead = max(0, int(-age[weighed].min(initial=0)))
    if 2 * ahead >= frames - 1:
        step.refuse(node, SUMS)
    # of each row what it weighs by age: the last row has all ages, but nothing ahead
    weights = np.stack([_of_age(longest, at) for at in range(-ahead, frames)], -1)
    fitted = _toeplitz(weights, age, ahead)
    if _close(fitted, longest):
        return Weights(weights, ahead, None)
    scale = np.diagonal(longest, axis1=-2, axis2=-1)
    if ahead or not (scale != 0).all():
        step.refuse(node, "weighs frames by another rule at every position")
    one = longest / scale[..., None]
    weights = np.stack([_of_age(one, at) for at in range(frames)], -1)
    if not _close(_toeplitz(weights, age, 0), one):
        step.refuse(node, "weighs frames by another rule at every position")
    return Weights(weights, 0, scale)


def _close(matrix: Array, other: Array) -> bool:
    return np.allclose(matrix, other, rtol=CLOSE, atol=TINY * np.abs(other).max(initial=0))


def _of_age(matrix: Array, age: int) -> Array:
    """`[...]`: the weight of a frame that is so old, by the last row that has one."""
    frames = matrix.shape[-1]
    row = frames - 1 + min(age, 0)
    found: Array = matrix[..., row, row - age]
    return found


def _toeplitz(weights: Array, age: Array, ahead: int) -> Array:
    made: Array = np.where(age >= -ahead, weights[..., np.maximum(age + ahead, 0)], 0)
    return made


def _average(
    step: Step, node: ir.Node, here: ir.Value, dims: list[Any], decay: Array, share: Array, delay: int
) -> ir.Value:
    """`h = decay * h + share * x`; a sum where nothing decays."""
    name, kind = node.outputs[0].name or "average", here.dtype or ir.DataType.FLOAT

    def factor(what: str, array: Array) -> ir.Value:
        return step.constant(f"{name}/{what}", array[..., None, None] if array.ndim else array, kind.numpy())

    new = step.add("Mul", [here, factor("share", share)], dims, f"{name}/new")
    if (decay == 1).all():
        return added(step, node, new, delay)[1]
    before, last = stored(step, node, dims, kind, "average")
    kept = step.add("Mul", [last, factor("decay", decay)], dims, f"{name}/kept")
    after = step.add("Add", [kept, new], dims, name)
    store(step, before, after, delay)
    return after


def _of_ring(
    step: Step, node: ir.Node, here: ir.Value, dims: list[Any], found: Weights, delay: int, on_left: bool
) -> ir.Value:
    """The last frames, weighed by their age."""
    assert here.shape is not None and here.dtype is not None
    count, name = found.count, node.outputs[0].name or "weighed"
    axis = len(here.shape) - (2 if on_left else 1)
    together = ring(step, node, here, axis, count - 1, "frames", delay) if count > 1 else here
    row = found.weights[..., count - 1 :: -1] if count < found.weights.shape[-1] else found.weights[..., ::-1]
    row = row[..., None, :] if on_left else row[..., None]
    weights = step.constant(f"{name}/weights", row, here.dtype.numpy())
    return step.add("MatMul", [weights, together] if on_left else [together, weights], dims, name)


def _at(step: Step, node: ir.Node, table: ir.Value, frames: int, on_left: bool) -> Array:
    """The matrix at a length: a row for every entry of the product."""
    axes = step.declaration.axes
    try:
        found = Part(table).at({name: frames if name == TIME else axis.opt for name, axis in axes.items()})
    except UnknownPart as error:
        step.refuse(node, f"takes what cannot be computed from sizes: {error}")
    return (found if on_left else np.swapaxes(found, -1, -2)).astype(np.float64)
