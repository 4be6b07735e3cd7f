"""One view of an `OnlineSoftmaxAttention` node: its inputs and attributes by their meaning."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from temport.custom_ops.domain import DOMAIN
from temport.custom_ops.layout import Layout, read_layout
from temport.custom_ops.mask import MaskRule
from temport.custom_ops.online_softmax_attention.attributes import OnlineSoftmaxAttributes


@dataclass(frozen=True)
class Attention:
    """An attention node as it is now; a view of a changed node is taken anew.

    q, k, v      `[batch, T, heads*D]`, `[batch, S, kv_heads*D]` and `[batch, S, kv_heads*Dv]`; of a packed node q
                 holds all three side by side, `[batch, T, (heads + 2*kv_heads)*D]`, and k and v are None
    key_mask     `[batch, S]`, bool; None for none
    scale        factor on the scores; None is 1/sqrt(D), which a node of other widths must be given as a number
    """

    node: ir.Node
    q: ir.Value
    k: ir.Value | None
    v: ir.Value | None
    key_mask: ir.Value | None
    heads: int
    kv_heads: int
    rule: MaskRule
    scale: float | None

    @staticmethod
    def of(node: ir.Node) -> Attention | None:
        """The view of a node; None where it is another operator."""
        if (node.domain, node.op_type) != (DOMAIN, "OnlineSoftmaxAttention"):
            return None
        q, k, v, key_mask = [*node.inputs, None, None, None][:4]
        assert q is not None, "the schema asks for it"
        a = OnlineSoftmaxAttributes.parse({name: given.value for name, given in node.attributes.items()})
        return Attention(node, q, k, v, key_mask, a.num_heads, a.kv_heads, a.rule, a.scale)

    def scale_for(self, head_dim: int) -> float:
        """`scale` with its default resolved."""
        return 1.0 / math.sqrt(head_dim) if self.scale is None else self.scale

    @property
    def packed(self) -> bool:
        return self.k is None

    @property
    def query_length(self) -> int | None:
        """T where it is fixed and known."""
        return _size(self.q, 1)

    @property
    def key_length(self) -> int | None:
        """S where it is fixed and known."""
        return _size(self.q if self.k is None else self.k, 1)

    @property
    def layout(self) -> Layout:
        """Batch, lengths and head widths; a size that is not fixed is None. ValueError where an input has no shape."""
        q, k, v, key_mask = (
            None if value is None else _sizes(value) for value in (self.q, self.k, self.v, self.key_mask)
        )
        assert q is not None
        return read_layout(
            self.node.op_type, q, k, v, key_mask=key_mask, num_heads=self.heads, kv_num_heads=self.kv_heads
        )

    @property
    def edges(self) -> list[int]:
        """Where q, k and v begin and end on the last axis of packed QKV."""
        width = _size(self.q, 2)
        assert self.packed and width is not None, "packed rows have a fixed width"
        dim = width // (self.heads + 2 * self.kv_heads)
        return [0, self.heads * dim, (self.heads + self.kv_heads) * dim, width]

    def place_queries(self, offset: int) -> None:
        """Let query row t stand at key position `t + offset`."""
        self.node.attributes["query_offset"] = ir.AttrInt64("query_offset", offset)


def _sizes(value: ir.Value) -> list[int | None]:
    if value.shape is None:
        raise ValueError(f"{value.name} has no shape")
    return [size if isinstance(size, int) else None for size in value.shape]


def _size(value: ir.Value, axis: int) -> int | None:
    size = value.shape[axis] if value.shape is not None and axis < len(value.shape) else None
    return size if isinstance(size, int) else None
