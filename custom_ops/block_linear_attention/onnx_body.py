"""ONNX bodies of BlockLinearAttention, specialised so that masks are constants of the body.

dense     two T x T products under baked masks (own block up to the query; all earlier blocks)
blocked   fixed length: softmax inside blocks and a running state over them, O(T * (block_size + D))
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.custom_ops.block_linear_attention.attributes import OP_NAME, BlockLinearAttributes
from temport.custom_ops.block_linear_attention.schema import SCHEMA
from temport.custom_ops.body_graph import BodyGraph, resolved_length
from temport.custom_ops.mask import BlockRule, MaskRule
from temport.custom_ops.op import Body, Host
from temport.custom_ops.sequence_node import SequenceNode

FORMS = ("dense", "blocked")
HEAD_DIM = 64  # the head dim is no attribute; the choice of form assumes this one
BLOCKED_OVERHEAD = (
    8000  # what the extra nodes cost, in score entries (ONNX Runtime, one thread, 4 heads of 64)
)


def specialise(node: ir.Node, host: Host) -> SequenceNode:
    """Every attribute, the length, and which inputs there are."""
    return SequenceNode.of(node, SCHEMA, host)


def body(at: SequenceNode) -> Body:
    """ValueError where the form cannot serve such nodes."""
    graph = BodyGraph(SCHEMA, at.host, FORMS)
    a = BlockLinearAttributes.parse(at.attributes)
    length, form = at.query_length, at.host.form
    if length != at.key_length:
        raise ValueError(f"{OP_NAME}: Q has {length} rows but K has {at.key_length}; they must be equal.")
    if form == "auto":
        form = "blocked" if length is not None and _blocked_is_cheaper(length, a) else "dense"
    build = _BodyOf(graph, a, at.packed)
    if form == "blocked":
        if length is None:
            raise ValueError(
                f"{OP_NAME}: the blocked body needs a fixed length; use dense for a dynamic one."
            )
        result = build.blocked(length)
    else:
        result = build.dense(length, at.host.max_length)
    return Body(graph.function(result, like=graph.inputs["Q"]), graph.masks)


def _blocked_is_cheaper(length: int, a: BlockLinearAttributes) -> bool:
    """Dense computes two T x T products; blocked a C x C and a C x D product per block."""
    block = min(a.block_size, length)
    rows = -(-length // block) * block
    return rows * (block + HEAD_DIM) + BLOCKED_OVERHEAD < 2 * length * length


class _BodyOf:
    """The forms over one set of inputs; values by head are `[B, H, T, D]`."""

    def __init__(self, graph: BodyGraph, a: BlockLinearAttributes, packed: bool) -> None:
        self.graph, self.a, self.packed = graph, a, packed
        self.scale = float(np.float32(a.scale or 0))  # the attribute is a float32 in the file

    def dense(self, length: int | None, max_length: int | None) -> ir.Value:
        g, C = self.graph, self.a.block_size
        longest = resolved_length(OP_NAME, "the length", length, max_length)
        queries, keys, values = self._by_head()

        def mask(earlier_blocks: bool) -> ir.Value:
            table = g.mask(BlockRule(C, earlier_blocks), longest, longest)
            if length is not None:
                return table
            size = g.size(g.inputs["Q"], 1)
            return g.slice(g.slice(table, 0, 0, size), 1, 0, size)

        output = g.attend(
            self._scores(queries, keys, 4), values, mask(earlier_blocks=False), may_be_empty=False
        )
        if longest > C:
            phi_q, phi_k = self._phi(queries), self._phi(keys)
            products = g.op("MatMul", phi_q, g.swap_last(phi_k, 4))
            products = g.op("Where", mask(earlier_blocks=True), products, g.constant(0))
            inter = g.op("MatMul", products, values)
            if self.a.normalizer == "key_sum":
                inter = g.op("Div", inter, self._denominator(g.op("ReduceSum", products, g.integers(-1))))
            output = g.op("Add", output, inter)
        return self._joined(output)

    def blocked(self, length: int) -> ir.Value:
        g = self.graph
        C = min(self.a.block_size, length)
        count, filling = -(-length // C), -length % C

        def cut(x: ir.Value) -> ir.Value:
            """`[B, H, T, D]` as `[B, H, count, C, D]`; filling rows come last, where no query sees them."""
            if filling:
                x = g.op("Pad", x, g.integers(0, 0, 0, 0, 0, 0, filling, 0))
            return g.reshape(x, 0, 0, count, C, -1)

        queries, keys, values = (cut(x) for x in self._by_head())
        causal = g.mask(MaskRule(causal=True, query_offset=0), C, C)
        output = g.attend(self._scores(queries, keys, 5), values, causal, may_be_empty=False)
        if count > 1:
            phi_q, phi_k = self._phi(queries), self._phi(keys)
            state = self._sum_before(g.op("MatMul", g.swap_last(phi_k, 5), values))
            inter = g.op("MatMul", phi_q, state)
            if self.a.normalizer == "key_sum":
                key_sum = self._sum_before(g.op("ReduceSum", phi_k, g.integers(3)))  # [B, H, count, 1, D]
                against = g.op("ReduceSum", g.op("Mul", phi_q, key_sum), g.integers(-1))
                inter = g.op("Div", inter, self._denominator(against))
            output = g.op("Add", output, inter)
        rows = g.reshape(output, 0, 0, count * C, -1)
        return self._joined(g.slice(rows, 2, 0, length) if filling else rows)

    def _by_head(self) -> list[ir.Value]:
        g, H = self.graph, self.a.num_heads
        if self.packed:
            x = g.reshape(g.computing(g.inputs["Q"]), 0, 0, 3 * H, -1)
            parts = [g.slice(x, 2, i * H, (i + 1) * H) for i in range(3)]
        else:
            parts = [g.reshape(g.computing(g.inputs[name]), 0, 0, H, -1) for name in ("Q", "K", "V")]
        return [g.op("Transpose", x, perm=[0, 2, 1, 3]) for x in parts]

    def _scores(self, queries: ir.Value, keys: ir.Value, rank: int) -> ir.Value:
        g = self.graph
        return g.op("MatMul", g.op("Mul", queries, g.constant(self.scale)), g.swap_last(keys, rank))

    def _phi(self, x: ir.Value) -> ir.Value:
        """elu(x) + 1 as max(x, 0) + exp(min(x, 0)): Elu followed by + 1 would round small values away."""
        g = self.graph
        if self.a.feature_map == "identity":
            return x
        return g.op("Add", g.op("Relu", x), g.op("Exp", g.op("Min", x, g.constant(0))))

    def _denominator(self, against: ir.Value) -> ir.Value:
        return self.graph.op("Add", against, self.graph.constant(self.a.eps))

    def _sum_before(self, x: ir.Value) -> ir.Value:
        """Sums over the earlier blocks (axis 2)."""
        return self.graph.op("CumSum", x, self.graph.constant(2, np.int64), exclusive=1)

    def _joined(self, x: ir.Value) -> ir.Value:
        """`[B, H, T, Dv]` back to `[B, T, H*Dv]`."""
        return self.graph.reshape(self.graph.op("Transpose", x, perm=[0, 2, 1, 3]), 0, 0, -1)
