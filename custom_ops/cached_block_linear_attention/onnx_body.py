"""ONNX bodies of CachedBlockLinearAttention: the ring is written, attention inside the block, then the linear part.

dense       scores and weights as plain operators
attention   one ai.onnx::Attention node (opset 23 or newer) for the softmax part
"""

from __future__ import annotations

import math

import onnx_ir as ir

from temport.custom_ops.body_graph import BodyGraph
from temport.custom_ops.cached_block_linear_attention.attributes import CachedBlockLinearAttributes
from temport.custom_ops.cached_block_linear_attention.schema import SCHEMA
from temport.custom_ops.online_softmax_attention.attributes import OnlineSoftmaxAttributes
from temport.custom_ops.online_softmax_attention.onnx_body import AttentionBody, Lengths
from temport.custom_ops.op import Body, Host
from temport.custom_ops.ring_body import RingBody, RingNode

FORMS = ("dense", "attention")
HALF_TYPES = ("float16", "bfloat16")


def specialise(node: ir.Node, host: Host) -> RingNode:
    """Every attribute, and the caches."""
    return RingNode.of(node, SCHEMA, host)


def body(at: RingNode) -> Body:
    """A block has as many frames as the caches have rows."""
    g = BodyGraph(SCHEMA, at.host, FORMS)
    a = CachedBlockLinearAttributes.parse(at.attributes)
    ring = RingBody(g, at.capacity, g.inputs["Frames"])
    query, key, value = ring.parts(g.inputs["QKV"])
    next_keys = ring.written(g.inputs["Keys"], key, "NextKeys")
    next_values = ring.written(g.inputs["Values"], value, "NextValues")
    head_dim = at.width // a.num_heads
    attention = AttentionBody(
        g,
        OnlineSoftmaxAttributes(a.num_heads),
        [query, next_keys, next_values],
        # as many frames as its block has before this one: no row of the block before is read
        ring.filled_since(ring.slot),
        1.0 / math.sqrt(head_dim),
        Lengths(1, at.capacity),
    )
    fused = at.host.form == "attention"
    inside = g.computing(attention.attention()) if fused else attention.dense()
    linear = _LinearBody(g, a, head_dim)
    y = g.op("Add", inside, linear.of_earlier(query))
    if at.row:
        y = g.reshape(y, 0, -1)
    ends = g.op("Equal", ring.slot, g.integers(at.capacity - 1))
    sums = linear.with_frame(key, value, g.unsqueeze(ends, 2, 3), at.host.element_type in HALF_TYPES)
    return Body(g.function(y, next_keys, next_values, *sums, like=g.inputs["QKV"]), g.masks)


class _LinearBody:
    """The linear part of one frame; values by head are `[B, H, 1, D]`, which for one row is a reshape."""

    def __init__(self, graph: BodyGraph, a: CachedBlockLinearAttributes, head_dim: int) -> None:
        self.graph, self.a, self.head_dim = graph, a, head_dim
        self.earlier, self.block, self.lost = (
            graph.computing(graph.inputs[name]) for name in ("Earlier", "Block", "Lost")
        )

    def of_earlier(self, query: ir.Value) -> ir.Value:
        """phi(q) S / (phi(q).z + eps), `[B, 1, C]`."""
        g = self.graph
        weighted = g.op("MatMul", self._phi(self._by_head(query)), self.earlier)
        total = g.slice(weighted, 3, 0, self.head_dim)
        if self.a.normalizer == "key_sum":
            key_sum = g.slice(weighted, 3, self.head_dim, self.head_dim + 1)
            total = g.op("Div", total, g.op("Add", key_sum, g.constant(self.a.eps)))
        return g.reshape(total, 0, 1, -1)

    def with_frame(
        self, key: ir.Value, value: ir.Value, ends: ir.Value, half: bool
    ) -> tuple[ir.Value, ir.Value, ir.Value]:
        """The sums after the frame: over the earlier blocks, over this one, and what rounding took."""
        g = self.graph
        rows = g.swap_last(self._phi(self._by_head(key)), 4)
        ones = g.op("Pad", self._by_head(value), g.integers(0, 0, 0, 0, 0, 0, 0, 1), g.constant(1))
        added = g.op("Sub", g.op("Mul", rows, ones), self.lost)
        grown = g.op("Add", self.block, added)
        if half:  # as the state will hold it, which is what the compensation is about
            grown = g.computing(g.op("CastLike", grown, g.inputs["Block"]))
        complete = g.op("Where", ends, grown, g.constant(0))
        return (
            g.op("Add", self.earlier, complete),
            g.op("Sub", grown, complete),
            g.op("Sub", g.op("Sub", grown, self.block), added),
        )

    def _by_head(self, x: ir.Value) -> ir.Value:
        return self.graph.reshape(self.graph.computing(x), 0, self.a.num_heads, 1, -1)

    def _phi(self, x: ir.Value) -> ir.Value:
        """elu(x) + 1 as two ways that keep the digits of small values."""
        g = self.graph
        if self.a.feature_map == "identity":
            return x
        return g.op("Add", g.op("Relu", x), g.op("Exp", g.op("Min", x, g.constant(0))))
