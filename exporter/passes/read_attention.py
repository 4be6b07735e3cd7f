"""Attention of an ONNX file as the node that a trace keeps of torch's: heads on an axis of their own, a past in front.

Attention of opset 23 and 24 says more than torch's does. Where a node asks for any of that, it stays as it is.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.exporter.declare.sizes import normal
from temport.exporter.graph import traced_attention
from temport.exporter.graph.edit import Size, initializer, insert, named, put
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.passes.notes import Notes

NAME = "read_attention"


def read_attention(model: ir.Model, notes: Notes | None = None) -> bool:
    """Rewrite `model` in place; False where it has no Attention that says what torch's can say."""
    changed = False
    for node in [node for node in model.graph if is_standard(node, "Attention")]:
        reason = _more_than_torch(node)
        if reason is None:
            _Reading(model.graph, node).run()
            changed = True
        elif notes is not None:
            notes.add(NAME, node, f"stays an operator of ONNX: {reason}")
    if changed:
        model.opset_imports[traced_attention.DOMAIN] = traced_attention.VERSION
    return changed


def _more_than_torch(node: ir.Node) -> str | None:
    """What keeps a node from being torch's attention, as the end of a sentence; None for nothing."""
    q, k, v, mask, past_key, past_value, lengths = [*node.inputs, *[None] * 7][:7]
    for value in (q, k, v, past_key, past_value):
        shape = None if value is None else value.shape
        if value is not None and (shape is None or not isinstance(shape[-1], int)):
            return "the size of its heads is not fixed"
        if shape is not None and len(shape) == 4 and not isinstance(shape[1], int):
            return "the number of its heads is not fixed"
    if _given(node, "softcap", 0.0):
        return "it caps its scores (softcap)"
    if _given(node, "scale", 1.0) <= 0:
        return "its scale is not positive"
    if _given(node, "softmax_precision", ir.DataType.FLOAT) != ir.DataType.FLOAT:
        return "it names the type of its softmax (softmax_precision)"
    if lengths is not None:
        return "it is told how many keys count (nonpad_kv_seqlen)"
    if len(node.outputs) > 3 and _wanted(node.outputs[3]):
        return "its scores are used too (qk_matmul_output)"
    if mask is not None and (mask.shape is None or mask.shape[-1] != _number_of_keys(k, past_key)):
        return "its mask may be shorter than its keys"
    return None


def _given(node: ir.Node, name: str, default: float) -> float:
    return node.attributes[name].value if name in node.attributes else default


def _number_of_keys(k: ir.Value | None, past: ir.Value | None) -> Size | None:
    if k is None or k.shape is None:
        return None
    return k.shape[-2] if past is None else _sum(_dims(past)[2], k.shape[-2])


def _sum(one: Size, other: Size) -> Size:
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    text = [f"({n.value})" if isinstance(n, ir.SymbolicDim) else str(n) for n in (one, other)]
    return ir.SymbolicDim(normal(" + ".join(text)))


def _wanted(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


class _Reading:
    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self.graph, self.node = graph, node

    def run(self) -> None:
        q, k, v, mask, past_key, past_value = [*self.node.inputs, *[None] * 6][:6]
        assert q is not None and k is not None and v is not None and q.shape is not None
        rows = len(q.shape) == 3
        if rows:
            heads, kv_heads = (int(_given(self.node, f"{x}_num_heads", 0)) for x in ("q", "kv"))
            q, k, v = (
                self._by_head(x, n, what)
                for x, n, what in ((q, heads, "q"), (k, kv_heads, "k"), (v, kv_heads, "v"))
            )
        k, v = self._after(past_key, k, "k"), self._after(past_value, v, "v")
        for output, value in zip(self.node.outputs[1:3], (k, v), strict=False):
            if _wanted(output):
                put(output, self._add("Identity", [value], _dims(value), f"{output.name}/kept"))
        attended = self._attention(q, k, v, mask, past_key is not None)
        put(self.node.outputs[0], self._rows(attended) if rows else attended)
        self.graph.remove(self.node, safe=True)

    def _attention(
        self, q: ir.Value, k: ir.Value, v: ir.Value, mask: ir.Value | None, past: bool
    ) -> ir.Value:
        attributes: dict[str, int | float] = {
            "is_causal": int(_given(self.node, "is_causal", 0)),
            "from_the_end": int(past),
            "enable_gqa": 1,
        }
        if "scale" in self.node.attributes:
            attributes["scale"] = _given(self.node, "scale", 1.0)
        inputs = [q, k, v] if mask is None else [q, k, v, mask]
        name, shape = named(self.node.outputs[0], "attended"), ir.Shape([*_dims(q)[:3], _dims(v)[3]])
        output = ir.Value(name=name, type=q.type, shape=shape)
        attention = ir.node(
            traced_attention.NAME, inputs, attributes, domain=traced_attention.DOMAIN, outputs=[output],
            name=self.node.name,
        )  # fmt: skip
        self.graph.insert_before(self.node, attention)
        return output

    def _by_head(self, rows: ir.Value, heads: int, what: str) -> ir.Value:
        """`[batch, heads, seq, size]` of `[batch, seq, heads * size]`."""
        batch, length, width = _dims(rows)
        assert isinstance(width, int), "looked at before"
        size = width // heads
        shape = initializer(self.graph, f"attention/heads_{heads}x{size}", np.array([0, 0, heads, size]))
        apart = self._add("Reshape", [rows, shape], [batch, length, heads, size], f"{what}/heads")
        return self._add("Transpose", [apart], [batch, heads, length, size], what, perm=[0, 2, 1, 3])

    def _rows(self, attended: ir.Value) -> ir.Value:
        batch, heads, length, size = _dims(attended)
        assert isinstance(heads, int) and isinstance(size, int), "looked at before"
        apart = self._add(
            "Transpose", [attended], [batch, length, heads, size], "by_frame", perm=[0, 2, 1, 3]
        )
        shape = initializer(self.graph, f"attention/rows_{heads * size}", np.array([0, 0, heads * size]))
        return self._add("Reshape", [apart, shape], [batch, length, heads * size], "rows")

    def _after(self, past: ir.Value | None, new: ir.Value, what: str) -> ir.Value:
        """A past and what comes after it, `[batch, heads, past + seq, size]`."""
        if past is None:
            return new
        batch, heads, length, size = _dims(new)
        both = _sum(_dims(past)[2], length)
        return self._add("Concat", [past, new], [batch, heads, both, size], f"{what}/all", axis=2)

    def _add(
        self, op: str, inputs: list[ir.Value], shape: list[Size], what: str, **attributes: int | list[int]
    ) -> ir.Value:
        return insert(self.graph, self.node, op, inputs, shape, named(self.node.outputs[0], what), attributes)


def _dims(value: ir.Value) -> list[Size]:
    assert value.shape is not None, "looked at before"
    return list(value.shape)
