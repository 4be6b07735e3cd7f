"""Attention in plain torch becomes our op, where it can be proved to be the same.

Two proofs, neither of which reads how a module spells things: masks are evaluated at many lengths and compared with
the rules that the op has (`prove_mask`), and where queries, keys and values come from is found by moving numbers
(`by_head`), so that no reshape and no transpose is left between a dense layer and the op. What is not proved stays as
it was, and the report says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.custom_ops.domain import DOMAIN, VERSION
from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.by_head import Columns, columns_behind, rows_after
from temport.exporter.graph.edit import cut, initializer, insert, named, replace
from temport.exporter.graph.evaluate_part import Sizes, sample_sizes
from temport.exporter.graph.layers import keep_layer, layer_of
from temport.exporter.graph.plain_attention import Operand, PlainAttention, hindrance
from temport.exporter.graph.prove_mask import KEYS, Hindrance, Proved, Unproved, prove
from temport.exporter.passes.notes import Notes

NAME = "recognise_attention"


@dataclass(frozen=True)
class Stays:
    """Why an attention stays in standard operators."""

    hindrance: Hindrance

    def __str__(self) -> str:
        return f"stays in standard operators: {self.hindrance}"


def recognise_attention(model: ir.Model, declaration: Declaration, notes: Notes | None = None) -> bool:
    """Rewrite `model` in place; False where there is no attention that the op can compute."""
    graph = model.graph
    many, few = (sample_sizes(declaration.axes, few) for few in (False, True))
    changed = False
    for node in list(graph):
        plain = PlainAttention.of(node)
        if plain is None:
            if notes is not None and (why := hindrance(node)) is not None:
                notes.add(NAME, node, Stays(Hindrance(why)))
            continue
        said: str | Stays
        try:
            said = _Rewriting(graph, plain, many, few).run()
            recognised = changed = True
        except Unproved as unproved:
            said, recognised = Stays(unproved.hindrance), False
        if notes is not None:
            notes.add(NAME, node, said, recognised)
    if changed:
        model.opset_imports[DOMAIN] = VERSION
        common.RemoveUnusedNodesPass()(model)
    return changed


@dataclass
class _Rewriting:
    graph: ir.Graph
    plain: PlainAttention
    many: Sequence[Sizes]
    few: Sequence[Sizes]

    def run(self) -> str:
        """Put the op in the place of the attention, and say as what; `Unproved` leaves the graph as it was."""
        q, k, v = (_axes(operand) for operand in self._operands)
        if any(x is None for x in (q, k, v)):
            raise Unproved("it has other axes than [batch, heads, length, size] or [batch, length, size]")
        assert q is not None and k is not None and v is not None
        if q[0] != k[0] or k[:3] != v[:3] or q[3] != k[3]:
            raise Unproved("queries, keys and values differ in their axes")
        (batch, heads, queries, size), kv_heads, value_size = q, k[1], v[3]
        if not (
            isinstance(heads, int)
            and isinstance(kv_heads, int)
            and isinstance(size, int)
            and isinstance(value_size, int)
            and heads % kv_heads == 0
        ):
            raise Unproved("the number of heads or their size is not fixed")
        proved = prove(self.plain, self._lengths(), self.many)
        if proved.guarded and proved.key_mask is None and not self.plain.whole:
            raise Unproved("a query without a key gives NaN, and 0 in the op")
        same_length = queries == k[2]
        columns = [columns_behind(x.value, x.perm, self.few) for x in self._operands]
        packed = _packed(columns) if same_length else None
        key_mask = self._key_mask(proved, batch, k[2])
        if packed is not None:
            inputs, kv_heads = [packed[0].rows, None, None], packed[1].heads
        else:
            group = _repeat(columns) if heads == kv_heads else 1
            kv_heads //= group
            given = zip(self._operands, columns, (1, group, group), strict=True)
            inputs = [self._rows(operand, found, repeat) for operand, found, repeat in given]
        rule = proved.rule
        # with as many queries as keys both say the same, and passes know more of what counts from the end
        at_end = rule.query_offset is None or (same_length and rule.query_offset == 0)
        attributes = {
            "num_heads": heads,
            "kv_num_heads": kv_heads,
            "causal": int(rule.causal),
            "window": rule.window,
            "query_offset": -1 if at_end else rule.query_offset or 0,
            "scale": 1 / math.sqrt(size) if self.plain.scale is None else float(self.plain.scale),
        }
        self._put([*inputs, key_mask], attributes, [batch, queries, heads * value_size])
        return _said(rule.label, proved)

    @property
    def _operands(self) -> tuple[Operand, Operand, Operand]:
        return self.plain.q, self.plain.k, self.plain.v

    def _lengths(self) -> tuple[ir.Value, ir.Value]:
        """Queries and keys as values whose last axis but one is the length."""
        found = []
        for operand in self._operands[:2]:
            axes = [operand.value.shape[axis] for axis in _order(operand)]  # type: ignore[index]  # checked by _axes
            found.append(ir.Value(name=operand.value.name, shape=ir.Shape(axes)))
        return found[0], found[1]

    def _key_mask(self, proved: Proved, batch: object, keys: object) -> ir.Value | None:
        """`[batch, S]`, True = attend, in front of the attention."""
        mask = proved.key_mask
        if mask is None:
            return None
        assert mask.shape is not None
        if mask.shape[0] != batch or mask.shape[-1] != keys:
            raise Unproved("has other sequences or lengths than the keys", KEYS)
        if len(mask.shape) > 2:
            between = np.arange(1, len(mask.shape) - 1)
            axes = initializer(self.graph, f"attention/between_{len(mask.shape)}", between)
            mask = self._once("Squeeze", [mask, axes], [mask.shape[0], mask.shape[-1]], named(mask, "keys"))
        if proved.inverted:
            mask = self._once("Not", [mask], list(mask.shape or ()), named(mask, "not"))
        return mask

    def _once(
        self, op: str, inputs: Sequence[ir.Value], shape: Sequence[int | ir.SymbolicDim], name: str
    ) -> ir.Value:
        """The node of that name, made where the graph has none yet."""
        for node, _ in inputs[0].uses():
            if node.outputs[0].name == name:
                return node.outputs[0]
        return insert(self.graph, self.plain.node, op, inputs, shape, name)

    def _rows(self, operand: Operand, found: Sequence[Columns], group: int) -> ir.Value:
        """`[batch, seq, heads*size]` of one operand: where it comes from, else what it is moved to."""
        fitting = [columns for columns in found if columns.group == group]
        whole = next((columns for columns in fitting if columns.all_of_rows), None)
        if whole is not None:
            return whole.rows
        if fitting:
            part = fitting[-1]
            return cut(
                self.graph, self.plain.node, part.rows, 2, part.start, part.start + part.heads * part.size
            )
        axes = _axes(operand)
        assert axes is not None
        batch, heads, length, size = axes
        order = _order(operand)
        if len(order) == 3:
            return self._transposed(operand.value, list(order))
        rows = self._transposed(operand.value, [order[0], order[2], order[1], order[3]])
        shape = initializer(self.graph, f"attention/rows_{heads * size}", np.array([0, 0, heads * size]))
        return self._once("Reshape", [rows, shape], [batch, length, heads * size], named(rows, "rows"))

    def _transposed(self, value: ir.Value, perm: Sequence[int]) -> ir.Value:
        if list(perm) == sorted(perm):
            return value
        assert value.shape is not None
        name = named(value, "turned", **{f"axis{i}": axis for i, axis in enumerate(perm)})
        turned = self._once("Transpose", [value], [value.shape[axis] for axis in perm], name)
        node = turned.producer()
        assert node is not None
        node.attributes["perm"] = ir.AttrInt64s("perm", list(perm))
        return turned

    def _put(
        self,
        inputs: Sequence[ir.Value | None],
        attributes: dict[str, int | float],
        shape: Sequence[int | ir.SymbolicDim],
    ) -> None:
        """The op in front of the attention, and its result in the place of the rows that are made of the old one."""
        node = self.plain.node
        old = node.outputs[0]
        if inputs[-1] is None:
            inputs = [x for x in inputs if x is not None]
        after = rows_after(old, self.plain.perm, self.few)
        if after is None and old.shape is not None and len(old.shape) == 3 and self.plain.perm is None:
            after = old
        result = ir.Value(name=named(old, "attended"), type=old.type, shape=ir.Shape(list(shape)))
        op = ir.node(
            "OnlineSoftmaxAttention", inputs, attributes, domain=DOMAIN, outputs=[result], name=node.name
        )
        keep_layer(op, layer_of(node))
        self.graph.insert_before(node, op)
        if after is None:
            replace(self.graph, node, self._by_head(result, old))
        else:
            last = after.producer()
            assert last is not None
            replace(self.graph, last, result)

    def _by_head(self, rows: ir.Value, old: ir.Value) -> ir.Value:
        """The result on the axes that the old one had."""
        perm = self.plain.perm or tuple(range(len(old.shape or ())))
        if len(perm) == 3:
            return self._transposed(rows, perm)
        assert rows.shape is not None and old.shape is not None
        back = [old.shape[perm.index(axis)] for axis in range(4)]
        batch, heads, length, size = back
        shape = initializer(self.graph, f"attention/heads_{heads}x{size}", np.array([0, 0, heads, size]))
        apart = self._once("Reshape", [rows, shape], [batch, length, heads, size], named(rows, "heads"))
        return self._transposed(apart, [(0, 2, 1, 3)[axis] for axis in perm])


def _order(operand: Operand) -> tuple[int, ...]:
    return operand.perm or tuple(range(len(operand.value.shape or ())))


def _axes(operand: Operand) -> tuple[int | ir.SymbolicDim, ...] | None:
    """Batch, heads, length and size; one head where there is no axis of them."""
    shape = operand.value.shape
    if shape is None or len(shape) not in (3, 4):
        return None
    axes = [shape[axis] for axis in _order(operand)]
    return tuple(axes) if len(axes) == 4 else (axes[0], 1, *axes[1:])


def _packed(columns: Sequence[Sequence[Columns]]) -> tuple[Columns, Columns] | None:
    """Queries and keys where they, and values after them, fill the rows of one value."""
    for q in columns[0]:
        for k in columns[1]:
            for v in columns[2]:
                kinds = (k.rows is q.rows is v.rows) and (k.heads, k.size) == (v.heads, v.size)
                widths = [q.heads * q.size, k.heads * k.size, v.heads * v.size]
                starts = [0, widths[0], widths[0] + widths[1]]
                if (
                    kinds
                    and q.size == k.size
                    and q.group == 1
                    and k.group == v.group
                    and [q.start, k.start, v.start] == starts
                    and q.width == sum(widths)
                ):
                    return q, k
    return None


def _repeat(columns: Sequence[Sequence[Columns]]) -> int:
    """How many queries' heads each head of keys and values serves, where both were repeated alike."""
    groups = [{found.group for found in several} for several in columns[1:]]
    common_groups = groups[0] & groups[1]
    return max(common_groups, default=1)


def _said(label: str, proved: Proved) -> str:
    kind, _, at = label.partition("_at_")
    words = {"all": "without a mask", "causal": "causal"}.get(
        kind, f"with a window of {kind.removeprefix('window')}"
    )
    where = "" if at in ("end", "0") else f", queries from position {at} on"
    keys = "" if proved.key_mask is None else ", under a mask of keys"
    return f"is recognised as OnlineSoftmaxAttention {words}{where}{keys}"
