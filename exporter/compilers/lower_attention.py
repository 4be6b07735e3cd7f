"""Write `temport::OnlineSoftmaxAttention` the way TensorRT takes it best: one `ai.onnx::Attention` node.

In float16 and bfloat16 that node becomes one fused kernel; in float32 no such kernel exists and the worker
lets TensorRT decompose it. TensorRT takes no node whose values are wider or narrower than its keys: heads are
padded with zeros for the kernel, and where there is none the attention is two matrix products. A mask becomes a
constant that is added to the scores: a boolean one costs ten more kernels. `is_causal` is used only where the
fused kernel applies it by itself: the decomposition would compute positions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from temport.custom_ops.layout import Layout
from temport.custom_ops.mask import MaskRule
from temport.exporter.compilers import attention_forms as forms
from temport.exporter.compilers.contract import Backend, CompileError
from temport.exporter.compilers.graph_edit import GraphEdit
from temport.exporter.compilers.head_width import cut
from temport.exporter.graph.attention import Attention

SMALLEST_ROW_KERNEL = 4
"""Batch times heads from which TensorRT builds an Attention node of a single query row (measured)."""
EXCLUDED = {ir.DataType.FLOAT16: -32768.0, ir.DataType.BFLOAT16: -(2.0**100), ir.DataType.FLOAT: -(2.0**100)}
"""What is added to the score of a key that is not allowed. Finite, so that a tile of excluded keys gives no NaN;
in float16 small enough that no score within +-32000 overflows, large enough that its weight underflows to 0."""


@dataclass(frozen=True)
class MaskConstant:
    """A baked mask in the lowered graph: `rule` over `query_length` x `key_length` (the maxima when dynamic)."""

    name: str
    rule: MaskRule
    query_length: int
    key_length: int
    element_type: str


@dataclass(frozen=True)
class LoweredAttention:
    """What became of one node.

    form  `fused` (one kernel is required), `decomposed` (no kernel exists) or `plugin` (ours)
    mask  a constant's name, `is_causal`, `none` where the rule excludes no key at these lengths, `rule` where our
          kernel applies it, or `body` where the node's function body does
    why   why it is decomposed; empty otherwise
    """

    node: str
    element_type: str
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    form: str
    mask: str
    key_mask: bool
    why: str = ""


@dataclass(frozen=True)
class _Site:
    """One attention node with everything its replacement depends on; a length is None when it is dynamic."""

    attention: Attention
    layout: Layout
    element_type: ir.DataType
    query_length: int | None
    key_length: int | None
    same_length: bool

    @property
    def lone(self) -> bool:
        """One head of one sequence."""
        return self.layout.batch == 1 and self.attention.heads == 1

    @property
    def one_row(self) -> bool:
        """A single query row of too few heads for an Attention node."""
        together = (self.layout.batch or 1) * self.attention.heads
        return self.query_length == 1 and together < SMALLEST_ROW_KERNEL

    def unfused(self, backend: Backend, key_mask: bool) -> str:
        """Why this is not one fused kernel; empty where it is."""
        if why := backend.unfused(self.element_type.name, max(self.layout.head_dim, self.layout.value_dim)):
            return why
        if self.one_row:
            return f"batch times heads is below {SMALLEST_ROW_KERNEL} and there is a single query row"
        odd = (self.query_length or 1) % 2 != 0
        if self.lone and (key_mask or odd or self.key_length is None):
            return "batch 1 and one head are fused for an even, fixed number of query rows without a key mask"
        return ""


def lower_attention(
    model: ir.Model, longest: int | None, backend: Backend
) -> tuple[list[LoweredAttention], list[MaskConstant]]:
    """Replace the attention nodes of `model` in place; `longest` is the maximum of every dynamic length."""
    lowered: list[LoweredAttention] = []
    masks: dict[str, MaskConstant] = {}
    for node in list(model.graph):
        if (attention := Attention.of(node)) is not None:
            lowered.append(_lower(model.graph, _read(attention), longest, backend, masks))
    return lowered, list(masks.values())


def _read(attention: Attention) -> _Site:
    try:
        layout = attention.layout
    except ValueError as error:
        raise CompileError(f"{attention.node.name}: {error}; export the model again") from error
    q, keys = attention.q, attention.k or attention.q
    if q.dtype not in EXCLUDED:
        raise CompileError(
            f"{attention.node.name} computes in {q.dtype}; TensorRT attention takes float32, float16, bfloat16"
        )
    assert q.shape is not None and keys.shape is not None
    same = str(q.shape[1]) == str(keys.shape[1])
    return _Site(attention, layout, q.dtype, layout.query_length, layout.key_length, same)


def _lower(
    graph: ir.Graph, site: _Site, longest: int | None, backend: Backend, masks: dict[str, MaskConstant]
) -> LoweredAttention:
    node, a = site.attention.node, site.attention
    dim, value_dim = site.layout.head_dim, site.layout.value_dim
    key_mask = node.inputs[3] if len(node.inputs) > 3 else None
    why = site.unfused(backend, key_mask is not None)
    edit = GraphEdit(graph, node)
    q, k, v = _split(edit, site)
    table = _Table(edit, site, longest, masks)

    causal_by_flag = not why and not site.lone and key_mask is None and table.plain_causal
    extra: ir.Value | None = None
    if key_mask is not None:
        extra = _given_mask(edit, key_mask, table)
    elif not causal_by_flag and not table.all_allowed:
        extra = table.additive()
    operands = forms.Operands(q, k, v, extra, a.heads, a.kv_heads, dim, value_dim, a.scale_for(dim))
    name = node.name or ""
    if site.one_row or (why and value_dim != dim):
        y = forms.products(edit, operands, site.query_length, site.element_type, name)
    else:
        equal = forms.equal_widths(edit, operands)
        # not for a single row, whose multiplication would be a kernel of its own
        if not why and site.query_length != 1:
            equal = forms.scaled_queries(edit, equal, site.element_type)
        if site.lone and not why:
            y = forms.halves_as_heads(edit, equal, site.query_length or 0, name)
        else:
            y = forms.one_node(edit, equal, causal_by_flag, name)
        y = cut(edit, y, a.heads, value_dim, operands.widest)
    y = _zero_empty_rows(edit, y, key_mask, table)
    edit.replace(node, y)
    return LoweredAttention(
        name, site.element_type.name, a.heads, a.kv_heads, dim, value_dim,
        "decomposed" if why else "fused",
        "is_causal" if causal_by_flag else "none" if table.all_allowed else table.name,
        key_mask is not None, why,
    )  # fmt: skip


def _split(edit: GraphEdit, site: _Site) -> tuple[ir.Value, ir.Value, ir.Value]:
    q, a, dim = site.attention.node.inputs[0], site.attention, site.layout.head_dim
    if not site.layout.packed:
        k, v = site.attention.node.inputs[1:3]
        assert q is not None and k is not None and v is not None
        return q, k, v
    sizes = edit.constant(np.array([a.heads * dim, a.kv_heads * dim, a.kv_heads * dim]), "sizes")
    parts = edit.ops("Split", [q, sizes], {"axis": 2}, outputs=3)
    return parts[0], parts[1], parts[2]


class _Table:
    """The rule of one site as a baked table, sliced by shape where a length is dynamic."""

    def __init__(
        self, edit: GraphEdit, site: _Site, longest: int | None, masks: dict[str, MaskConstant]
    ) -> None:
        lengths = site.query_length, site.key_length
        if longest is None and None in lengths:
            raise CompileError(
                f"{site.attention.node.name} has a dynamic length and the declaration gives it no maximum"
            )
        self.edit, self.site, self.masks = edit, site, masks
        self.rule = site.attention.rule
        self.T, self.S = (length or longest or 0 for length in lengths)
        self.dynamic = None in lengths
        self.allowed = self.rule.array(self.T, self.S)
        # named by content: rules that agree at these lengths share one constant
        digest = hashlib.sha256(self.allowed.tobytes()).hexdigest()[:8]
        self.name = f"mask_{self.T}x{self.S}_{digest}"

    @property
    def all_allowed(self) -> bool:
        return bool(self.allowed.all())

    @property
    def plain_causal(self) -> bool:
        """Key j <= row t and nothing else, which is what `is_causal` means (it aligns the first row and key)."""
        aligned = self.site.same_length if self.rule.query_offset is None else self.rule.query_offset == 0
        wide = self.rule.window == 0 or self.rule.window >= self.S
        return aligned and wide and not self.rule.unrestricted

    def additive(self) -> ir.Value:
        """`[T, S]`: 0 where allowed, `EXCLUDED` elsewhere, in the scores' element type."""
        kind = self.site.element_type
        name = f"{self.name}_{kind.name.lower()}"
        self.masks[name] = MaskConstant(name, self.rule, self.T, self.S, kind.name)
        array = np.where(self.allowed, 0.0, EXCLUDED[kind]).astype(kind.numpy())
        return self._sliced(self.edit.shared_constant(array, name))

    def boolean(self) -> ir.Value:
        """`[T, S]`, True where allowed."""
        name = f"{self.name}_bool"
        self.masks[name] = MaskConstant(name, self.rule, self.T, self.S, "BOOL")
        return self._sliced(self.edit.shared_constant(self.allowed, name))

    def some_allowed(self) -> ir.Value | None:
        """`[T, 1]`, True where the row has an allowed key; None where every row has one at every length."""
        if not self.dynamic:
            rows = np.asarray(self.allowed.any(axis=1, keepdims=True))
            return None if rows.all() else self.edit.shared_constant(rows, f"{self.name}_rows")
        aligned = self.site.same_length and self.rule.query_offset in (None, 0)
        if aligned or self.rule.unrestricted:
            return None
        allowed = self.edit.op("Cast", [self.boolean()], {"to": ir.DataType.FLOAT})
        last = self.edit.constant(np.array([1]), "keys")
        count = self.edit.op("ReduceSum", [allowed, last], {"keepdims": 1})
        return self.edit.op("Greater", [count, self.edit.constant(np.zeros((), np.float32), "none")])

    def _sliced(self, table: ir.Value) -> ir.Value:
        """Bottom-right aligned rules are cut from the end, others from the beginning: both keep the predicate."""
        if not self.dynamic:
            return table
        inputs = self.site.attention.node.inputs
        keys = inputs[0 if self.site.layout.packed else 1]
        lengths = [self.edit.op("Shape", [value], {"start": 1, "end": 2}) for value in (inputs[0], keys)]
        size = self.edit.op("Concat", lengths, {"axis": 0})
        full = self.edit.constant(np.array([self.T, self.S]), "full")
        axes = self.edit.constant(np.array([0, 1]), "axes")
        if self.rule.query_offset is None and not self.site.same_length:
            return self.edit.op("Slice", [table, self.edit.op("Sub", [full, size]), full, axes])
        first = self.edit.constant(np.zeros(2, np.int64), "first")
        return self.edit.op("Slice", [table, first, size, axes])


def _given_mask(edit: GraphEdit, key_mask: ir.Value, table: _Table) -> ir.Value:
    """`[B, 1, T or 1, S]` from the caller's key mask `[B, S]` and the baked rule: a selection, not a sum."""
    kind = table.site.element_type
    allowed = edit.op("Unsqueeze", [key_mask, edit.constant(np.array([1, 2]), "axes")])
    rule = edit.constant(np.zeros((), kind.numpy()), "allowed") if table.all_allowed else table.additive()
    return edit.op(
        "Where", [allowed, rule, edit.constant(np.array(EXCLUDED[kind], kind.numpy()), "excluded")]
    )


def _zero_empty_rows(edit: GraphEdit, y: ir.Value, key_mask: ir.Value | None, table: _Table) -> ir.Value:
    """A row with no allowed key gives 0; the softmax of equal exclusions would give the mean of V."""
    if key_mask is None:
        known = table.some_allowed()
        if known is None:
            return y
        some = known
    else:
        given = edit.op("Cast", [key_mask], {"to": ir.DataType.FLOAT})
        if table.all_allowed:
            count = edit.op("ReduceSum", [given, edit.constant(np.array([1]), "keys")], {"keepdims": 1})
        else:
            rule = edit.op("Cast", [table.boolean()], {"to": ir.DataType.FLOAT})
            count = edit.op("MatMul", [given, edit.op("Transpose", [rule], {"perm": [1, 0]})])
        none = edit.constant(np.zeros((), np.float32), "none")
        some = edit.op("Unsqueeze", [edit.op("Greater", [count, none]), edit.constant(np.array([2]), "last")])
    zero = edit.constant(np.zeros((), table.site.element_type.numpy()), "zero")
    return edit.op("Where", [some, y, zero])
