"""Multiplications and additions of matrix products in one node, from the shapes of its inputs and first output.

A multiply-add counts 2. Attention counts the scores and sums of allowed keys only, whatever a kernel does with
the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir

from temport.custom_ops.layout import read_layout
from temport.custom_ops.mask import MaskRule
from temport.exporter.graph.attention import Attention

Shape = tuple[int, ...]
FlopRule = Callable[[ir.Node, list[Shape | None], Shape], int]


def matmul(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    return 2 * math.prod(output) * _given(shapes[0])[-1]


def gemm(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    inner = 0 if _int(node, "transA", 0) else 1
    return 2 * math.prod(output) * _given(shapes[0])[inner]


def dense(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    """FusedDense: `[K, N]` of one group, `[groups, K, N]` of several; each entry of Y is a product of length K."""
    return 2 * math.prod(output) * _given(shapes[1])[-2]


def conv(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    """Taps that fall on the zeros of the padding count too."""
    return 2 * math.prod(output) * math.prod(_given(shapes[1])[1:])


def transposed_conv(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    """Each entry of the input meets every tap of its group's kernels."""
    return 2 * math.prod(_given(shapes[0])) * math.prod(_given(shapes[1])[1:])


def einsum(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    """One product per choice of all indices; the axes of an ellipsis are counted from its end."""
    terms = node.attributes["equation"].as_string().replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, map(_given, shapes), strict=True):
        before, _, after = term.partition("...")
        wide = len(shape) - len(before) - len(after)
        indices = [*before, *(f"...{wide - i}" for i in range(wide)), *after]
        for index, size in zip(indices, shape, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))
    return 2 * (len(terms) - 1) * math.prod(sizes.values())


def recurrence(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    """Y `[T, directions, B, hidden]`, W `[directions, gates*hidden, input]`, R `[directions, gates*hidden, hidden]`.

    For LSTM, GRU, RNN and their fused forms, which differ in the number of gates.
    """
    T, _, B, _ = output
    return 2 * T * B * (math.prod(_given(shapes[1])) + math.prod(_given(shapes[2])))


def standard_attention(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    """ai.onnx Attention, `[B, T, H*D]` with head counts as attributes or `[B, H, T, D]`."""
    q, v = _given(shapes[0]), _given(shapes[2])
    heads = q[1] if len(q) == 4 else _int(node, "q_num_heads", 1)
    width = q[-1] if len(q) == 4 else q[-1] // heads
    value_width = output[-1] if len(q) == 4 else output[-1] // heads
    rule = MaskRule(causal=bool(_int(node, "is_causal", 0)), query_offset=0)
    return 2 * q[0] * heads * (width + value_width) * _allowed(rule, q[-2], v[-2])


def traced_attention(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    """Every pair of a query and a key but those that `is_causal` excludes; what a mask allows is not known here."""
    q, k = _given(shapes[0]), _given(shapes[1])
    at_end = bool(_int(node, "from_the_end", 0))
    rule = MaskRule(causal=bool(_int(node, "is_causal", 0)), query_offset=None if at_end else 0)
    return 2 * math.prod(output[:-2]) * (q[-1] + output[-1]) * _allowed(rule, q[-2], k[-2])


def online_softmax(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    attention = Attention.of(node)
    assert attention is not None, "the table gives this rule to no other operator"
    sizes = attention.layout
    pairs = _allowed(attention.rule, sizes.query_length, sizes.key_length)
    return 2 * sizes.batch * attention.heads * (sizes.head_dim + sizes.value_dim) * pairs


def block_linear(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    """Causal attention inside each block, and per row one update and one product of the D x Dv state."""
    q, k, v = [*shapes, None, None][:3]
    heads, block = node.attributes["num_heads"].as_int(), node.attributes["block_size"].as_int()
    sizes = read_layout(node.op_type, _given(q), k, v, num_heads=heads, kv_num_heads=heads)
    full, rest = divmod(sizes.query_length, block)
    causal = MaskRule(causal=True)
    pairs = full * _allowed(causal, block, block) + _allowed(causal, rest, rest)
    later_rows = max(0, sizes.query_length - block)
    state_rows = (full if rest else full - 1) * block if later_rows else 0
    state = (later_rows + state_rows) * sizes.head_dim * sizes.value_dim
    return int(2 * sizes.batch * heads * ((sizes.head_dim + sizes.value_dim) * pairs + state))


def cached(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    """One query against every row of the caches, the second input."""
    return 4 * math.prod(_given(shapes[1]))


def cached_block_linear(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    """Attention to the block's rows, and one update and one product of the D x D state."""
    B, H, D, _ = _given(shapes[3])
    return 4 * (math.prod(_given(shapes[1])) + B * H * D * D)


def moving_average(node: ir.Node, shapes: list[Shape | None], output: Shape) -> int:
    """Two convolutions; taps before the first frame count too."""
    return 2 * 2 * math.prod(output) * _int(node, "taps", 1)


def _allowed(rule: MaskRule, T: int, S: int) -> int:
    """Pairs of a query and a key that it may see."""
    return sum(hi - lo for lo, hi in (rule.key_range(t, t + 1, T, S) for t in range(T)))


def _given(shape: Shape | None) -> Shape:
    assert shape is not None, "checked by the schema"
    return shape


def _int(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default
