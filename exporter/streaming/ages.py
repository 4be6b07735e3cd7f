"""What positions say of the scores of an attention, by how old a key is: masks, windows, and what is added by distance.

A softmax takes no notice of what is added to a whole row, so each row is read against its own frame: `slope * key` and
`slope * (key - query)` are one rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.evaluate_part import Part, UnknownPart
from temport.exporter.graph.plain_attention import Operand, PlainAttention, Says
from temport.exporter.graph.prove_mask import FAR_BELOW
from temport.exporter.streaming.shapes import TIME, axes_of_time, entries, extra

Array = npt.NDArray[Any]
CLOSE = 1e-6
"""How far a table in float32 may be from the rule, of its largest number."""


@dataclass(frozen=True)
class Ages:
    """To the score of key `entry` of a frame `age` frames older than that of its query, which is `query` of its own,
    `added[..., age + ahead, query, entry]` is added, -inf: it is not seen.

    ahead   frames after its own that a query sees
    window  frames that a query sees, its own and later ones included; 0: all before it
    """

    added: Array
    ahead: int
    window: int

    def of_kept(self, count: int, most: int) -> Array:
        """`[..., queries, count]`: what is added to the scores of the newest `count` entries, oldest first, where no
        query sees a key that is `most` or more entries older."""
        rows = self.added.shape[-1]
        age, entry = np.divmod(np.arange(count)[::-1], rows)
        entry = rows - 1 - entry
        known = np.minimum(age, self.added.shape[-3] - 1)
        table = np.moveaxis(self.added[..., known, :, entry], 0, -1)
        older = (age - self.ahead) * rows + np.arange(rows)[:, None] - entry
        return np.where((age < self.added.shape[-3]) & (older < most), table, -np.inf)


def read_ages(plain: PlainAttention, declaration: Declaration) -> Ages | None:
    """The rule of an attention of frames to frames; None where it has another, or where inputs have a part in it."""
    each = {_entries(operand) for operand in (plain.q, plain.k, plain.v)}
    rows = next(iter(each))
    if len(each) > 1 or rows is None:
        return None
    axis = declaration.axes[TIME]
    wanted = sorted({axis.min + 2, axis.opt, axis.max} & set(range(axis.min, axis.max + 1)))
    others = {name: a.opt for name, a in declaration.axes.items()}
    try:
        read = [_added(plain, others | {TIME: n}, n, rows) for n in wanted]
    except UnknownPart:
        return None
    tables = [table for table, _ in filter(None, read)]
    if len(tables) < len(read):
        return None
    longest, largest = tables[-1], max(number for _, number in filter(None, read))
    frames = longest.shape[-2]
    age = np.arange(frames)[:, None] - np.arange(frames)
    seen = (longest > -np.inf).any((-3, -1)).reshape(-1, frames, frames).any(0)
    ahead, oldest = int(-age[seen].min()), int(age[seen].max())
    if 2 * ahead >= frames - 1 or (ahead and oldest == frames - 1):
        return None
    by_age = np.stack([_of_age(longest, at) for at in range(-ahead, oldest + 1)], -3)
    if not all(_follows(table, by_age, ahead, CLOSE * largest) for table in tables):
        return None
    unlimited = oldest == frames - 1
    return Ages(by_age, ahead, 0 if unlimited else by_age.shape[-3])


def attention_by_age(
    model: ir.Model, declaration: Declaration
) -> tuple[dict[ir.Node, tuple[PlainAttention, Ages]], set[ir.Node]]:
    """Attention of frames to frames that is written out, by the node that it ends in; and the nodes of it that make
    nothing for others."""
    found: dict[ir.Node, tuple[PlainAttention, Ages]] = {}
    inside: set[ir.Node] = set()
    for node in model.graph:
        plain = PlainAttention.of(node)
        ages = None if plain is None or plain.whole else read_ages(plain, declaration)
        if plain is None or ages is None:
            continue
        own = scoring(plain)
        if own is not None:
            found[node] = plain, ages
            inside |= own
    return found, inside


def scoring(plain: PlainAttention) -> set[ir.Node] | None:
    """The nodes from queries and keys to weights that no other reads; None where others read scores or weights."""
    ends = {plain.q.value, plain.k.value, plain.v.value, *(term.value for term in plain.terms)}
    own: list[ir.Node] = []
    pending = [v for v in plain.node.inputs if v is not None and v not in ends]
    while pending:
        maker = pending.pop().producer()
        if maker is not None and maker not in own:
            own.append(maker)
            pending += [v for v in maker.inputs if v is not None and v not in ends]
    inside = {plain.node, *own}
    places = {node: place for place, node in enumerate(plain.node.graph or ())}
    for maker in sorted(own, key=lambda node: -places[node]):  # readers before what they read
        if any(v.is_graph_output() or any(use.node not in inside for use in v.uses()) for v in maker.outputs):
            inside.remove(maker)
    tables = [n for n in own if len(axes_of_time(list(n.outputs[0].shape or ()))) > 1]
    return inside - {plain.node} if inside.issuperset(tables) else None


def _entries(operand: Operand) -> int | None:
    """How many rows each frame has of it, along the last axis but one; None where that is no axis of frames alone."""
    shape = operand.value.shape
    if shape is None or len(shape) < 3:
        return None
    length = shape[(operand.perm or tuple(range(len(shape))))[-2]]
    rows = entries(length)
    return rows if rows is not None and extra(length, rows) == 0 else None


def _added(
    plain: PlainAttention, sizes: dict[str, int], frames: int, rows: int
) -> tuple[Array, float] | None:
    """`[..., frames, rows, frames, rows]`, each row less what is added to its own entry, and the largest number that is
    added; None where these are not known."""
    total = np.zeros((frames * rows, frames * rows))
    for term in plain.terms:
        part = Part(term.value)
        if part.data:
            return None
        table = part.at(sizes)
        if term.says is Says.ADDED:
            numbers = table.astype(np.float64)
            total = total + np.where(numbers <= FAR_BELOW, -np.inf, numbers)
        elif term.fill <= FAR_BELOW:
            blocked = ~table.astype(bool) if term.says is Says.ALLOWED else table.astype(bool)
            total = np.where(blocked, -np.inf, total)
        else:
            return None
    own = np.diagonal(total, axis1=-2, axis2=-1)
    if not np.isfinite(own).all():
        return None
    by_frame = (total - own[..., None]).reshape(*total.shape[:-2], frames, rows, frames, rows)
    return by_frame, float(np.abs(total[np.isfinite(total)]).max(initial=0))


def _of_age(table: Array, age: int) -> Array:
    """`[..., rows, rows]`: of a frame that is so old, by the last frame that has one."""
    frame = table.shape[-2] - 1 + min(age, 0)
    found: Array = table[..., frame, :, frame - age, :]
    return found


def _follows(table: Array, by_age: Array, ahead: int, close: float) -> bool:
    frames = table.shape[-2]
    index = np.arange(frames)[:, None] - np.arange(frames) + ahead
    inside = (index >= 0) & (index < by_age.shape[-3])
    rule = by_age[..., np.clip(index, 0, by_age.shape[-3] - 1), :, :]
    rule = np.swapaxes(np.where(inside[:, :, None, None], rule, -np.inf), -3, -2)
    seen = np.isfinite(rule)
    off = np.abs(np.where(seen, table, 0) - np.where(seen, rule, 0))
    return bool((np.isfinite(table) == seen).all() and (off <= close).all())
