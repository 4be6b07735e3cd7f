"""torch's attention in standard operators, where it is no op of ours: a softmax that gives 0 where no key is allowed.

Where no query can be without a key there is no guard.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph import traced_attention
from temport.exporter.graph.edit import Size, initializer, named, replace
from temport.exporter.graph.evaluate_part import Part, UnknownPart, dims_at, sample_sizes
from temport.exporter.graph.layers import keep_layer, layer_of
from temport.exporter.graph.plain_attention import PlainAttention, Says


def spell_attention(model: ir.Model, declaration: Declaration) -> bool:
    """Rewrite `model` in place; False where no attention of torch's is left."""
    found = [(n, plain) for n in model.graph if (plain := PlainAttention.of(n)) is not None and plain.whole]
    for node, plain in found:
        _Spelling(model.graph, node, plain, declaration).run()
    model.opset_imports.pop(traced_attention.DOMAIN, None)
    return bool(found)


class _Spelling:
    def __init__(
        self, graph: ir.Graph, node: ir.Node, plain: PlainAttention, declaration: Declaration
    ) -> None:
        self.graph, self.node, self.plain, self.axes = graph, node, plain, declaration.axes
        self.q, self.k, self.v = plain.q.value, plain.k.value, plain.v.value
        assert self.q.shape is not None and self.k.shape is not None and self.v.shape is not None
        self.kind = self.q.dtype or ir.DataType.FLOAT
        self.leading: list[Size] = list(self.q.shape[:-2])

    def run(self) -> None:
        q, k, v = self.q, self._repeated(self.k, "keys"), self._repeated(self.v, "values")
        assert q.shape is not None and k.shape is not None and v.shape is not None
        rank, T, S = len(q.shape), q.shape[-2], k.shape[-2]
        size = q.shape[-1]
        assert isinstance(size, int), "torch knows the size of a head"
        scale = 1 / math.sqrt(size) if self.plain.scale is None else self.plain.scale
        scaled = self._add("Mul", [q, self._number(scale)], list(q.shape), "scaled")
        axes = [*range(rank - 2), rank - 1, rank - 2]
        turned = self._add("Transpose", [k], [k.shape[axis] for axis in axes], "turned", perm=axes)
        scores = self._add("MatMul", [scaled, turned], [*self.leading, T, S], "scores")
        lowest = self._number(float(np.finfo(np.float32).min))
        blocked = None
        if self.plain.causal:
            blocked = self._causal(T, S)
            scores = self._add("Where", [blocked, lowest, scores], [*self.leading, T, S], "causal", of=scores)
        for term in self.plain.terms:
            if term.says is Says.ALLOWED:
                scores = self._add(
                    "Where", [term.value, scores, lowest], [*self.leading, T, S], "allowed", of=scores
                )
            else:
                scores = self._add("Add", [scores, term.value], [*self.leading, T, S], "masked")
        guard = self._may_be_empty()
        if guard:
            scores = self._add("Max", [scores, lowest], [*self.leading, T, S], "finite")
        weights = self._add("Softmax", [scores], [*self.leading, T, S], "weights", axis=-1)
        if guard:
            if blocked is not None:
                weights = self._add(
                    "Where", [blocked, self._number(0.0), weights], [*self.leading, T, S], "seen", of=weights
                )
            for term in self.plain.terms:
                weights = self._zero(weights, term.value, term.says, [*self.leading, T, S])
        name = self.node.outputs[0].name
        product = self._add("MatMul", [weights, v], [*self.leading, T, v.shape[-1]], "product")
        replace(self.graph, self.node, product)
        product.name = name

    def _zero(self, weights: ir.Value, mask: ir.Value, says: Says, shape: list[Size]) -> ir.Value:
        """Weights that are 0 where a mask blocks, which a row without keys needs."""
        if says is Says.ALLOWED:
            return self._add("Where", [mask, weights, self._number(0.0)], shape, "guarded", of=weights)
        blocked = self._add(
            "IsInf", [mask], list(mask.shape or ()), "blocked", ir.DataType.BOOL, detect_positive=0
        )
        return self._add("Where", [blocked, self._number(0.0), weights], shape, "guarded", of=weights)

    def _may_be_empty(self) -> bool:
        """Whether some query can be without a key: not where the masks are known at every length, and leave one."""
        if not self.plain.terms:
            return False
        (term,) = self.plain.terms
        part = Part(term.value)
        if part.data:
            return True
        try:
            for sizes in sample_sizes(self.axes):
                table = part.at(sizes)
                allowed = table if table.dtype == bool else table > -np.inf
                if self.plain.causal:
                    T, S = (dims_at(value, sizes)[-2] for value in (self.q, self.k))
                    allowed = allowed & np.tri(T, S, S - T if self.plain.at_end else 0, dtype=bool)
                if not allowed.any(axis=-1).all():
                    return True
        except UnknownPart:
            return True
        return False

    def _causal(self, T: Size, S: Size) -> ir.Value:
        """Bool, True where a key is later than the query, from positions; `bake_positions` makes it a table."""
        one = initializer(self.graph, "attention/one", np.array(1, np.int64))
        zero = initializer(self.graph, "attention/zero", np.array(0, np.int64))
        numbers = []
        for value, axis in ((self.q, 1), (self.k, 0)):
            rank = len(value.shape or ())
            length = self._add(
                "Shape", [value], [1], f"length{axis}", ir.DataType.INT64, start=rank - 2, end=rank - 1
            )
            numbers.append(self._add("Squeeze", [length], [], f"number{axis}"))
        queries, keys = numbers
        first, end = zero, queries
        if self.plain.at_end:
            first, end = self._add("Sub", [keys, queries], [], "first"), keys
        places = []
        for start, stop, count, axis in ((first, end, T, 1), (zero, keys, S, 0)):
            place = self._add("Range", [start, stop, one], [count], f"places{axis}")
            along = initializer(self.graph, f"attention/axis{axis}", np.array([axis]))
            places.append(
                self._add("Unsqueeze", [place, along], [count, 1] if axis else [1, count], f"along{axis}")
            )
        return self._add("Greater", [places[1], places[0]], [T, S], "later", ir.DataType.BOOL)

    def _repeated(self, value: ir.Value, what: str) -> ir.Value:
        """Keys or values with as many heads as there are of queries, each as often as it serves one."""
        assert value.shape is not None and self.q.shape is not None
        if "enable_gqa" not in self.node.attributes or not self.node.attributes["enable_gqa"].as_int():
            return value
        heads, wanted = value.shape[-3], self.q.shape[-3]
        assert isinstance(heads, int) and isinstance(wanted, int), "torch knows the number of heads"
        picked = initializer(
            self.graph, f"attention/heads_{heads}_of_{wanted}", np.arange(wanted) * heads // wanted
        )
        shape = [*value.shape[:-3], wanted, *value.shape[-2:]]
        return self._add("Gather", [value, picked], shape, what, of=value, axis=len(shape) - 3)

    def _number(self, value: float) -> ir.Value:
        kind = self.kind.numpy()
        return initializer(
            self.graph, f"attention/{value:.9g}_{self.kind.name.lower()}", np.array(value, kind)
        )

    def _add(
        self,
        op: str,
        inputs: list[ir.Value],
        shape: list[Size],
        what: str,
        kind: ir.DataType | None = None,
        of: ir.Value | None = None,
        **attributes: int | list[int],
    ) -> ir.Value:
        """One node in front of the attention; its type is `kind`, else that of `of`, else that of its first input."""
        source = of or inputs[0]
        name = named(self.node.outputs[0], what)
        output = ir.Value(
            name=name, type=source.type if kind is None else ir.TensorType(kind), shape=ir.Shape(shape)
        )
        node = ir.node(op, inputs, attributes, outputs=[output], name=name)
        keep_layer(node, layer_of(self.node))
        self.graph.insert_before(self.node, node)
        return output
