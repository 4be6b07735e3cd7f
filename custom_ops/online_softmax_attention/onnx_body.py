"""ONNX bodies of OnlineSoftmaxAttention, specialised so that masks are constants of the body.

dense       T x S scores, any rule, static or dynamic lengths
banded      windows at fixed lengths: blocks of queries by their own and the previous block of keys, O(T*2W)
attention   one ai.onnx::Attention node (opset 23 or newer) with a baked bool mask, or is_causal where T = S
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from temport.custom_ops.body_graph import BodyGraph, resolved_length
from temport.custom_ops.mask import MaskRule
from temport.custom_ops.online_softmax_attention.attributes import OP_NAME, OnlineSoftmaxAttributes
from temport.custom_ops.online_softmax_attention.schema import SCHEMA
from temport.custom_ops.op import Body, Host
from temport.custom_ops.sequence_node import SequenceNode

FORMS = ("dense", "banded", "attention")
ATTENTION_OPSET = 23
SMALLEST_BLOCK = 16  # below this a block's matrix products are all overhead
BANDED_OVERHEAD = (
    2500  # what the extra nodes cost, in score entries (ONNX Runtime, one thread, 4 heads of 64)
)


def specialise(node: ir.Node, host: Host) -> SequenceNode:
    """Every attribute, the lengths, and which inputs there are."""
    return SequenceNode.of(node, SCHEMA, host)


def body(at: SequenceNode) -> Body:
    """ValueError where the form cannot serve such nodes."""
    graph = BodyGraph(SCHEMA, at.host, FORMS)
    a = OnlineSoftmaxAttributes.parse(at.attributes)
    given = [graph.inputs[name] for name in (("Q",) if at.packed else ("Q", "K", "V"))]
    key_mask = graph.inputs["key_mask"] if at.key_mask else None
    lengths = Lengths(at.query_length, at.key_length, at.host.max_length)
    build = AttentionBody(graph, a, given, key_mask, float(np.float32(a.scale or 0)), lengths)
    bands, form = Bands.of(a.rule, at.query_length, at.key_length), at.host.form
    if form == "auto":
        form = "banded" if bands is not None and bands.cost + BANDED_OVERHEAD < bands.dense_cost else "dense"
    if form == "banded":
        if bands is None:
            raise ValueError(
                f"{OP_NAME}: the banded body needs a window, fixed lengths of more than one block of "
                f"max(window, {SMALLEST_BLOCK}) rows, and every query at one of the keys."
            )
        result = build.banded(bands)
    elif form == "attention":
        result = build.attention()
    else:
        result = build.dense()
    return Body(graph.function(result, like=graph.inputs["Q"]), graph.masks)


@dataclass(frozen=True)
class Bands:
    """How a window at fixed lengths is cut: `head` dense rows, then `count` blocks of `block` rows.

    Each block of queries sees only keys of its own and the previous block of keys. The rows that do not fill
    blocks stand first, where they are long enough that every later block has a whole previous block of keys:
    no padding, so no padding mask.
    """

    rule: MaskRule
    T: int
    S: int
    block: int
    head: int
    count: int

    @classmethod
    def of(cls, rule: MaskRule, T: int | None, S: int | None) -> Bands | None:
        """The cut, or None where lengths are dynamic, there is no window, or fewer than one whole block."""
        if T is None or S is None or rule.window == 0:
            return None
        offset = rule.offset(T, S)
        if offset < 0 or T + offset > S:
            return None
        block = max(rule.window, SMALLEST_BLOCK)
        head = T % block
        while head + offset < block:
            head += block
        count = (T - head) // block
        return (
            cls(MaskRule(rule.causal, rule.window, offset), T, S, block, head, count) if count > 0 else None
        )

    @property
    def cost(self) -> int:
        """Score entries computed."""
        lo, hi = self.rule.key_range(0, self.head, self.T, self.S)
        return self.head * (hi - lo) + self.count * self.block * 2 * self.block

    @property
    def dense_cost(self) -> int:
        return self.T * self.S


@dataclass(frozen=True)
class Lengths:
    """Numbers of queries and keys where they are fixed, and the longest dynamic one."""

    queries: int | None
    keys: int | None
    longest: int | None = None


class AttentionBody:
    """The forms over one set of inputs. Values by head are `[B, Hkv, (G,) T, D]`; G only where H > Hkv.

    given      packed QKV, or Q, K and V, in the layout of the op
    key_mask   bool `[B, S]`, True = attend
    scale      factor on Q K^T; a scale that is an attribute is a float32 in the file
    """

    def __init__(
        self,
        graph: BodyGraph,
        a: OnlineSoftmaxAttributes,
        given: list[ir.Value],
        key_mask: ir.Value | None,
        scale: float,
        lengths: Lengths,
    ) -> None:
        self.graph, self.rule, self.packed, self.given = graph, a.rule, len(given) == 1, given
        self.heads, self.kv_heads, self.groups = a.num_heads, a.kv_heads, a.num_heads // a.kv_heads
        self.scale = scale
        self.query_length, self.key_length, self.max_length = lengths.queries, lengths.keys, lengths.longest
        self.key_mask = key_mask
        self.rank = 4 if self.groups == 1 else 5

    def dense(self) -> ir.Value:
        g = self.graph
        queries, keys, values = self._grouped(*self._split(*map(g.computing, self.given)))
        allowed, may_be_empty = self._allowed(self.rank)
        return self._joined(g.attend(self._scores(queries, keys, self.rank), values, allowed, may_be_empty))

    def banded(self, bands: Bands) -> ir.Value:
        g, rank, block, count = self.graph, self.rank, bands.block, bands.count
        offset, window = bands.rule.offset(bands.T, bands.S), bands.rule.window
        queries, keys, values = self._grouped(*self._split(*map(g.computing, self.given)))
        axis, keep, empty = rank - 2, [0] * (rank - 2), self.key_mask is not None
        parts = []
        if bands.head > 0:
            lo, hi = bands.rule.key_range(0, bands.head, bands.T, bands.S)
            allowed = g.mask(MaskRule(window=window, query_offset=offset - lo), bands.head, hi - lo)
            if self.key_mask is not None:
                given = g.slice(self.key_mask, 1, lo, hi)
                allowed = g.op("And", allowed, g.unsqueeze(given, *range(1, rank - 1)))
            near_k, near_v = (g.slice(x, axis, lo, hi) for x in (keys, values))
            scores = self._scores(g.slice(queries, axis, 0, bands.head), near_k, rank)
            parts.append(g.attend(scores, near_v, allowed, empty))

        first, end = bands.head + offset - block, bands.T + offset

        def with_previous(x: ir.Value, axis: int, rest: list[int]) -> ir.Value:
            """Keys of each block after those of the block before: `[..., count, 2*block, ...]`."""
            blocks = g.reshape(g.slice(x, axis, first, end), *[0] * axis, count + 1, block, *rest)
            before, own = g.slice(blocks, axis, 0, count), g.slice(blocks, axis, 1, count + 1)
            return g.op("Concat", before, own, axis=axis + 1)

        rows = g.reshape(g.slice(queries, axis, bands.head, bands.T), *keep, count, block, -1)
        allowed = g.mask(MaskRule(window=window, query_offset=block), block, 2 * block)
        if self.key_mask is not None:
            given = with_previous(self.key_mask, 1, [])  # [B, count, 2*block]
            allowed = g.op("And", allowed, g.unsqueeze(given, *range(1, rank - 2), rank - 1))
        scores = self._scores(rows, with_previous(keys, axis, [-1]), rank + 1)
        blocks_out = g.attend(scores, with_previous(values, axis, [-1]), allowed, empty)
        parts.append(g.reshape(blocks_out, *keep, count * block, -1))
        return self._joined(parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=axis))

    def attention(self) -> ir.Value:
        """In the input's own type: casts to float32 would cost runtimes their fused half kernels."""
        g = self.graph
        if g.opset < ATTENTION_OPSET:
            raise ValueError(
                f"{OP_NAME}: the attention body needs opset {ATTENTION_OPSET} or newer; it is {g.opset}."
            )
        q, k, v = (g.op("Transpose", x, perm=[0, 2, 1, 3]) for x in self._split(*self.given))
        scale = self.scale
        # Runtimes keep the scale of Attention in float32, take its square root, and 0 for none.
        if g.dtype == np.float64 or scale <= 0:
            q, scale = g.op("Mul", q, g.op("CastLike", g.constant(scale), q)), 1.0
        same_length = self.packed or (self.query_length is not None and self.query_length == self.key_length)
        # ai.onnx aligns is_causal at the first key, and runtimes disagree where T != S.
        top_left = same_length and self.rule.query_offset in (None, 0)
        if self.rule.causal and self.rule.window == 0 and top_left and self.key_mask is None:
            return self._joined(g.op("Attention", q, k, v, scale=scale, is_causal=1), grouped=False)
        allowed, may_be_empty = self._allowed(4)
        if allowed is None:
            return self._joined(g.op("Attention", q, k, v, scale=scale), grouped=False)
        if (
            self.rule.unrestricted
        ):  # a key_mask alone has no query axis, which ONNX Runtime's Attention asks for
            rows = g.op("Concat", g.integers(1, 1), g.size(self.given[0], 1), g.integers(1), axis=0)
            allowed = g.op("Expand", allowed, rows)
        output = g.op("Attention", q, k, v, allowed, scale=scale)
        if may_be_empty:
            any_key = g.op("ReduceMax", g.op("Cast", allowed, to=ir.DataType.FLOAT.value), g.integers(-1))
            any_key = g.op("Cast", any_key, to=ir.DataType.BOOL.value)
            output = g.op("Where", any_key, output, g.op("CastLike", g.constant(0), output))
        return self._joined(output, grouped=False)

    def _split(self, q: ir.Value, k: ir.Value | None = None, v: ir.Value | None = None) -> list[ir.Value]:
        """`[B, T, H, D]`, `[B, S, Hkv, D]`, `[B, S, Hkv, Dv]`."""
        g, H, kv = self.graph, self.heads, self.kv_heads
        if k is None or v is None:
            x = g.reshape(q, 0, 0, H + 2 * kv, -1)
            return [g.slice(x, 2, 0, H), g.slice(x, 2, H, H + kv), g.slice(x, 2, H + kv, H + 2 * kv)]
        return [g.reshape(x, 0, 0, n, -1) for x, n in ((q, H), (k, kv), (v, kv))]

    def _grouped(self, q: ir.Value, k: ir.Value, v: ir.Value) -> list[ir.Value]:
        g = self.graph
        if self.groups == 1:
            return [g.op("Transpose", x, perm=[0, 2, 1, 3]) for x in (q, k, v)]
        q = g.op("Transpose", g.reshape(q, 0, 0, self.kv_heads, self.groups, -1), perm=[0, 2, 3, 1, 4])
        return [q, *(g.unsqueeze(g.op("Transpose", x, perm=[0, 2, 1, 3]), 2) for x in (k, v))]

    def _scores(self, queries: ir.Value, keys: ir.Value, rank: int) -> ir.Value:
        g = self.graph
        return g.op("MatMul", g.op("Mul", queries, g.constant(self.scale)), g.swap_last(keys, rank))

    def _joined(self, x: ir.Value, grouped: bool = True) -> ir.Value:
        """By head back to `[B, T, H*Dv]`."""
        perm = [0, 3, 1, 2, 4] if grouped and self.groups > 1 else [0, 2, 1, 3]
        return self.graph.reshape(self.graph.op("Transpose", x, perm=perm), 0, 0, -1)

    def _allowed(self, rank: int) -> tuple[ir.Value | None, bool]:
        """What may be attended, broadcastable to scores of `rank` axes, and whether a row may be empty."""
        allowed, may_be_empty = (None, False) if self.rule.unrestricted else self._baked()
        if self.key_mask is not None:
            given = self.graph.unsqueeze(self.key_mask, *range(1, rank - 1))
            allowed = given if allowed is None else self.graph.op("And", allowed, given)
            may_be_empty = True
        return allowed, may_be_empty

    def _baked(self) -> tuple[ir.Value, bool]:
        """The rule's table `[T, S]`: a constant, sliced by shape where a length is dynamic."""
        g, rule = self.graph, self.rule
        q, k = self.given[0], self.given[0 if self.packed else 1]
        T = resolved_length(OP_NAME, "the query length", self.query_length, self.max_length)
        S = resolved_length(OP_NAME, "the key length", self.key_length, self.max_length)
        fixed = self.query_length is not None and self.key_length is not None
        if fixed or self.packed or rule.query_offset is not None:
            offset = rule.offset(T, S)
            table = g.mask(MaskRule(rule.causal, rule.window, offset), T, S)
            if self.query_length is None:
                table = g.slice(table, 0, 0, g.size(q, 1))
            if self.key_length is None:
                table = g.slice(table, 1, 0, g.size(k, 1))
            # A window can run off keys shorter than the longest: rows from S + W - 1 on are empty.
            runs_off = rule.window > 0 and self.key_length is None and not self.packed
            return table, runs_off or offset < 0 or MaskRule(rule.causal, rule.window, offset).has_empty_rows(
                T, S
            )
        # Row t stands at t + S - T, so every position that a pair of lengths can give has a row of the table.
        lowest = (self.key_length or 0) - T
        table = g.mask(MaskRule(rule.causal, rule.window, lowest), S - lowest, S)
        end = g.op("Sub", g.size(k, 1), g.integers(lowest))
        table = g.slice(table, 0, g.op("Sub", end, g.size(q, 1)), end)
        if self.key_length is None:
            table = g.slice(table, 1, 0, g.size(k, 1))
        return table, lowest < 0
