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
from temport.exporter.streaming.shapes import TIME, along_time, axes_of_time, extra

Array = npt.NDArray[Any]
CLOSE = 1e-6
"""How far a table in float32 may be from the rule, of its largest number."""


@dataclass(frozen=True)
class Ages:
    """To the score of a key `age` frames older than its query `added[..., age + ahead]` is added, -inf: it is not seen.

    ahead   frames after its own that a query sees
    window  keys that a query sees, its own and later ones included; 0: all before it
    """

    added: Array
    ahead: int
    window: int


def read_ages(plain: PlainAttention, declaration: Declaration) -> Ages | None:
    """The rule of an attention of frames to frames; None where it has another, or where inputs have a part in it."""
    if not all(_is_of_frames(operand) for operand in (plain.q, plain.k, plain.v)):
        return None
    axis = declaration.axes[TIME]
    wanted = sorted({axis.min + 2, axis.opt, axis.max} & set(range(axis.min, axis.max + 1)))
    others = {name: a.opt for name, a in declaration.axes.items()}
    try:
        read = [_added(plain, others | {TIME: n}, n) for n in wanted]
    except UnknownPart:
        return None
    tables = [table for table, _ in filter(None, read)]
    if len(tables) < len(read):
        return None
    longest, largest = tables[-1], max(number for _, number in filter(None, read))
    frames = longest.shape[-1]
    age = np.arange(frames)[:, None] - np.arange(frames)
    seen = (longest > -np.inf).reshape(-1, frames, frames).any(0)
    ahead, oldest = int(-age[seen].min()), int(age[seen].max())
    if 2 * ahead >= frames - 1 or (ahead and oldest == frames - 1):
        return None
    by_age = np.stack([_of_age(longest, at) for at in range(-ahead, oldest + 1)], -1)
    if not all(_follows(table, by_age, ahead, CLOSE * largest) for table in tables):
        return None
    unlimited = oldest == frames - 1
    return Ages(by_age, ahead, 0 if unlimited else by_age.shape[-1])


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


def _is_of_frames(operand: Operand) -> bool:
    """Whether its length, the last axis but one, is that of the frames."""
    shape = operand.value.shape
    if shape is None or len(shape) < 3:
        return False
    order = operand.perm or tuple(range(len(shape)))
    return along_time(shape[order[-2]]) and extra(shape[order[-2]]) == 0


def _added(plain: PlainAttention, sizes: dict[str, int], frames: int) -> tuple[Array, float] | None:
    """`[..., frames, frames]`, each row less what is added to its own frame, and the largest number that is added; None
    where these are not known."""
    total = np.zeros((frames, frames))
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
    return total - own[..., None], float(np.abs(total[np.isfinite(total)]).max(initial=0))


def _of_age(table: Array, age: int) -> Array:
    """`[...]`: of a key that is so old, in the last row that has one."""
    row = table.shape[-1] - 1 + min(age, 0)
    found: Array = table[..., row, row - age]
    return found


def _follows(table: Array, by_age: Array, ahead: int, close: float) -> bool:
    frames = table.shape[-1]
    index = np.arange(frames)[:, None] - np.arange(frames) + ahead
    inside = (index >= 0) & (index < by_age.shape[-1])
    rule = np.where(inside, by_age[..., np.clip(index, 0, by_age.shape[-1] - 1)], -np.inf)
    seen = np.isfinite(rule)
    off = np.abs(np.where(seen, table, 0) - np.where(seen, rule, 0))
    return bool((np.isfinite(table) == seen).all() and (off <= close).all())
