"""Where queries, keys and values by head come from: columns of rows `[batch, seq, width]`, proved by moving numbers.

The nodes between are evaluated on rows whose elements are their own places; where each lands says everything about
reshapes, transposes, splits and repeats, however a module spells them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.graph import operators
from temport.exporter.graph.evaluate_part import Part, Sizes, UnknownPart, dims_at, walk_back
from temport.exporter.graph.standard_operator import is_standard


@dataclass(frozen=True)
class Columns:
    """`heads` heads of `size` side by side from column `start` on; each serves `group` heads of the value."""

    rows: ir.Value
    width: int
    start: int
    heads: int
    size: int
    group: int

    @property
    def all_of_rows(self) -> bool:
        return self.start == 0 and self.width == self.heads * self.size


def columns_behind(value: ir.Value, perm: tuple[int, ...] | None, samples: Sequence[Sizes]) -> list[Columns]:
    """Every value behind `value` whose columns it holds by head, the nearest first.

    value   `[batch, heads, seq, size]`, or `[batch, seq, size]` of one head, once it is read through `perm`
    """
    found = []
    for rows in walk_back(value):
        columns = _columns(value, perm, rows, samples)
        if columns is not None:
            found.append(columns)
        node = rows.producer()
        if (
            node is None
            or not is_standard(node)
            or not operators.of(node).moves
            or node.op_type in ("Concat", "Pad")
        ):
            break
    return found


def rows_after(value: ir.Value, perm: tuple[int, ...] | None, samples: Sequence[Sizes]) -> ir.Value | None:
    """The value `[batch, seq, heads*size]` that the only users of a result by head make of it; None for none.

    `perm` is how the result stands to `[batch, heads, seq, size]`.
    """
    after = value
    while len(after.uses()) == 1 and not after.is_graph_output():
        node = next(iter(after.uses())).node
        if (
            not is_standard(node)
            or not operators.of(node).moves
            or node.inputs[0] is not after
            or len(node.outputs) > 1
        ):
            return None
        after = node.outputs[0]
        if _is_rows(after) and _gives_rows(value, perm, after, samples):
            return after
    return None


def _columns(
    value: ir.Value, perm: tuple[int, ...] | None, rows: ir.Value, samples: Sequence[Sizes]
) -> Columns | None:
    if not _is_rows(rows) or rows.const_value is not None:
        return None
    answers: set[Columns | None] = set()
    try:
        for sizes in samples:
            shape = dims_at(rows, sizes)
            places = np.arange(np.prod(shape)).reshape(shape)
            moved = Part(value, [rows]).at(sizes, [places])
            answers.add(_read(_by_head(moved, perm), shape, rows))
    except UnknownPart:
        return None
    return answers.pop() if len(answers) == 1 else None


def _read(moved: npt.NDArray[np.int64], shape: tuple[int, ...], rows: ir.Value) -> Columns | None:
    if moved.ndim != 4 or (moved.shape[0], moved.shape[2]) != shape[:2] or moved.size == 0:
        return None
    _, heads, _, size = moved.shape
    start = int(moved[0, 0, 0, 0])
    group = 1 + int((moved[0, 1:, 0, 0] == start).sum())
    if heads % group or start + heads // group * size > shape[2]:
        return None
    columns = start + np.arange(heads)[:, None] // group * size + np.arange(size)
    places = np.arange(shape[0] * shape[1]).reshape(shape[:2]) * shape[2]
    if not np.array_equal(moved, places[:, None, :, None] + columns[:, None, :]):
        return None
    return Columns(rows, shape[2], start, heads // group, size, group)


def _gives_rows(
    value: ir.Value, perm: tuple[int, ...] | None, after: ir.Value, samples: Sequence[Sizes]
) -> bool:
    try:
        for sizes in samples:
            shape = dims_at(value, sizes)
            places = np.arange(np.prod(shape)).reshape(shape)
            back = None if perm is None else tuple(int(axis) for axis in np.argsort(perm))
            by_head = _by_head(places, back)
            if by_head.ndim != 4:
                return False
            expected = by_head.transpose(0, 2, 1, 3).reshape(by_head.shape[0], by_head.shape[2], -1)
            if not np.array_equal(Part(after, [value]).at(sizes, [places]), expected):
                return False
    except UnknownPart:
        return False
    return True


def _by_head(places: npt.NDArray[np.int64], perm: tuple[int, ...] | None) -> npt.NDArray[np.int64]:
    turned = places if perm is None else places.transpose(perm)
    return turned[:, None] if turned.ndim == 3 else turned


def _is_rows(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) == 3 and isinstance(value.shape[2], int)
