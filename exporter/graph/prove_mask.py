"""Which rule on positions, and which mask of keys, the masks of an attention say: proved by what they give.

The nodes that make a mask are evaluated at many lengths, with many given masks of keys, and compared bit for bit with
the predicate that our op has. What is not equal everywhere is no rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.custom_ops.mask import MaskRule
from temport.exporter.graph import operators
from temport.exporter.graph.evaluate_part import Part, Sizes, UnknownPart, dims_at
from temport.exporter.graph.plain_attention import PlainAttention, Says, Term

Table = npt.NDArray[np.bool_]
FAR_BELOW = -1e30
"""A finite score that blocks a key beside one that is allowed, as `torch.finfo(dtype).min` does: its weight is 0. -1e9
is none: scores of raw sensors lie beyond it."""
FILLED = -1e3
"""From here on a number that a mask adds is meant to block."""
DRAWS = 4
"""Random masks of keys for each length, beside all and none."""
BY_ELEMENT = {
    "Add",
    "Cast",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Mul",
    "Or",
    "Sub",
    "Where",
    "Xor",
}
"""Operators that a mask of keys may go through, beside those that move or join masks: one key decides one key."""


MASK, KEYS = "mask", "mask of keys"


@dataclass(frozen=True)
class Hindrance:
    """What keeps an attention from being the op.

    lacks  the rest of a sentence about `of`
    of     the part of it that stands in the way, `MASK` or `KEYS`; empty: the attention itself
    """

    lacks: str
    of: str = ""

    def __str__(self) -> str:
        return f"its {self.of} {self.lacks}" if self.of else self.lacks


class Unproved(Exception):
    """Why masks are no rule; the arguments are those of `Hindrance`."""

    def __init__(self, lacks: str, of: str = "") -> None:
        self.hindrance = Hindrance(lacks, of)
        super().__init__(str(self.hindrance))


@dataclass(frozen=True)
class Proved:
    """The rule, and the mask of keys `[batch, S]` with axes of size 1 between, where `inverted` with True = ignore.

    guarded   whether some query may have no key
    """

    rule: MaskRule
    key_mask: ir.Value | None
    inverted: bool
    guarded: bool


def prove(plain: PlainAttention, lengths: tuple[ir.Value, ir.Value], samples: Sequence[Sizes]) -> Proved:
    """The rule of all masks together. `lengths` are queries and keys, `[..., T, D]` and `[..., S, D]` as they are read.

    `Unproved` with the reason where there is none.
    """
    masks = [_Mask(term) for term in plain.terms]
    given = [mask for mask in masks if mask.source is not None]
    if len(given) > 1:
        raise Unproved("it has several masks that come from inputs")
    found: list[tuple[int, int, Table]] = []
    inverted = False
    try:
        for sizes in samples:
            T, S = (dims_at(value, sizes)[-2] for value in lengths)
            table = np.ones((T, S), bool)
            if plain.causal:
                table = np.tri(T, S, S - T if plain.at_end else 0, dtype=bool)
            for mask in masks:
                if mask.source is None:
                    table = table & mask.at(sizes, T, S)
            for mask in given:
                part, inverted = mask.split(sizes, T, S)
                table = table & part
            if not (table == table.reshape(-1, *table.shape[-2:])[0]).all():
                raise Unproved("differs between heads or sequences", MASK)
            found.append((T, S, table.reshape(-1, *table.shape[-2:])[0]))
    except UnknownPart as error:
        raise Unproved(f"is not known: {error}", MASK) from error
    rule = _fitting(found)
    guarded = bool(given) or any(rule.has_empty_rows(T, S) for T, S, _ in found)
    if guarded and any(mask.finite for mask in masks):
        raise Unproved("adds a finite number, which counts where a query has no key", MASK)
    return Proved(rule, given[0].source if given else None, inverted, guarded)


class _Mask:
    """One term, and what of it is decided by a mask of keys that is given."""

    def __init__(self, term: Term) -> None:
        self.term, self.finite = term, False
        self.source = None if not Part(term.value).data else _source(term.value)
        self.part = Part(term.value, [] if self.source is None else [self.source])
        if self.part.data:
            if term.says is Says.ADDED:
                raise Unproved(
                    "what is added to its scores depends on inputs, as for relative positions; the op has masks only"
                )
            raise Unproved(f"depends on {self.part.data[0].name}, which is no mask of keys", MASK)
        if self.source is not None:
            for node in self._decided():
                row = operators.of(node)
                if not (row.moves or row.joins_masks or node.op_type in BY_ELEMENT):
                    raise Unproved(f"goes through {node.op_type}", KEYS)

    def _decided(self) -> list[ir.Node]:
        """The nodes that the mask of keys goes through."""
        reached: set[ir.Value | None] = {self.source}
        nodes = []
        for node in self.part.nodes:
            if not reached.isdisjoint(node.inputs):
                reached.update(node.outputs)
                nodes.append(node)
        return nodes

    def at(self, sizes: Sizes, T: int, S: int, *given: Table) -> Table:
        """`[..., T, S]`, True = attend."""
        table = self._allowed(self.part.at(sizes, given))
        try:
            return np.broadcast_to(table, np.broadcast_shapes(table.shape, (T, S)))
        except ValueError as error:
            raise Unproved(f"is {list(table.shape)} where scores are {T} by {S}", MASK) from error

    def _allowed(self, array: npt.NDArray[np.generic]) -> Table:
        if self.term.says is not Says.ADDED:
            self._note_finite(np.array([self.term.fill]))
            return array.astype(bool) if self.term.says is Says.ALLOWED else ~array.astype(bool)
        numbers = array.astype(np.float64)
        blocked = numbers <= FAR_BELOW
        if not (blocked | (numbers == 0)).all():
            least = float(numbers[~blocked].min())
            what = (
                f"{least:g}, which scores can exceed; fill in -torch.inf"
                if least <= FILLED
                else "other numbers than 0 and -inf"
            )
            raise Unproved(f"adds {what}", MASK)
        self._note_finite(numbers[blocked])
        return ~blocked

    def _note_finite(self, fills: npt.NDArray[np.float64]) -> None:
        if (fills > FAR_BELOW).any():
            raise Unproved(f"fills in {fills.max():g}, which scores can exceed; fill in -torch.inf", MASK)
        self.finite = self.finite or bool(np.isfinite(fills).any())

    def split(self, sizes: Sizes, T: int, S: int) -> tuple[Table, bool]:
        """The part that positions decide, and whether a given True means to ignore the key."""
        assert self.source is not None
        shape = dims_at(self.source, sizes)
        if len(shape) < 2 or shape[-1] != S or set(shape[1:-1]) - {1}:
            raise Unproved(f"comes from {self.source.name}, which is not [batch, keys]", MASK)
        every, none = (self.at(sizes, T, S, np.full(shape, flag)) for flag in (True, False))
        inverted = bool(none.any())
        table = none if inverted else every
        random = np.random.default_rng(T * 1000 + S)
        for given in (np.full(shape, inverted), *(random.random(shape) < 0.5 for _ in range(DRAWS))):
            keys = (given != inverted).reshape(shape[0], *[1] * (table.ndim - 2), S)
            if table.ndim < 3 or not np.array_equal(self.at(sizes, T, S, given), table & keys):
                raise Unproved("joins keys and positions otherwise than by And", MASK)
        return table, inverted


def _source(value: ir.Value) -> ir.Value | None:
    """The boolean value next to the mask that might be a mask of keys: two axes, or others of size 1 between them."""
    pending, seen = [value], set()
    while pending:
        current = pending.pop(0)
        if current in seen or current.const_value is not None or not Part(current).data:
            continue
        seen.add(current)
        dims = list(current.shape or ())
        if current.dtype == ir.DataType.BOOL and len(dims) >= 2 and all(dim == 1 for dim in dims[1:-1]):
            return current
        node = current.producer()
        if node is not None:
            pending += [v for v in node.inputs if v is not None]
    return None


def _fitting(found: Sequence[tuple[int, int, Table]]) -> MaskRule:
    """The rule that gives every table."""
    table = max((table for _, _, table in found), key=lambda table: table.size)
    counts = table.sum(axis=1)
    rules = [MaskRule(query_offset=0)]
    if counts.any():
        row = int(counts.argmax())
        last = int(np.flatnonzero(table[row])[-1])
        for offset in (last - row, None):
            if offset is None or offset >= 0:
                rules += [MaskRule(True, 0, offset), MaskRule(True, int(counts[row]), offset)]
    for rule in rules:
        if all(np.array_equal(rule.array(T, S), table) for T, S, table in found):
            return rule
    raise Unproved("is no rule on positions that the op has", MASK)
