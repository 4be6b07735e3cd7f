"""Attention, of windows and of streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from temport.custom_ops.block_linear_attention.attributes import BlockLinearAttributes
from temport.custom_ops.cached_attention.attributes import CachedAttentionAttributes
from temport.custom_ops.cached_block_linear_attention.attributes import CachedBlockLinearAttributes
from temport.custom_ops.online_softmax_attention.attributes import OnlineSoftmaxAttributes
from temport.exporter.native.call import Call, Form
from temport.exporter.native.sizes import Size
from temport.exporter.native.tensors import NoForm

_FAR = 1 << 40
"""Positions are summed in 64 bits."""


@dataclass(frozen=True)
class _Sequences:
    """Queries, keys and values of whole sequences, as the kernels are given them.

    sizes     the argument AttentionSizes: the most there can be
    operands  the three of AttentionArrays
    dim       of a head of Q and K
    """

    batch: Size
    length: Size
    keys: Size
    dim: int
    sizes: str
    operands: str

    def operations(self, heads: int, window: int) -> int:
        """Multiply-adds, at most, where a row sees `window` keys (0: all)."""
        seen = min(window or self.keys.most, self.keys.most)
        return 2 * self.batch.most * heads * self.length.most * seen * self.dim


def online_softmax_attention(call: Call) -> None:
    a = OnlineSoftmaxAttributes.parse(call.attributes())
    if max(a.window, a.query_offset) > _FAR:
        raise NoForm("its window or its offset is out of range")
    x = _sequences(call, a.num_heads, a.kv_heads)
    causal = "true" if a.causal else "false"
    plan = call.plan.constant(f"plan_softmax({x.sizes}, {a.scale_for(x.dim)!r}f, {causal}, {a.window})")
    offset = f"{x.keys} - {x.length}" if a.query_offset == -1 else a.query_offset
    caller = call.plan.caller(x.operations(a.num_heads, a.window))
    work = call.plan.workspace(f"{plan}.scratch_floats", caller)
    call.line(
        f"softmax_attention<{plan}>({caller}{x.batch}, {x.length}, {x.keys}, {offset}, "
        f"{{{x.operands}, {call.pointer(3)}, {call.output().code}}}, {work});"
    )


def block_linear_attention(call: Call) -> None:
    a = BlockLinearAttributes.parse(call.attributes())
    x = _sequences(call, a.num_heads, a.num_heads)
    block = min(a.block_size, _FAR)
    plan = call.plan.constant(f"plan_linear({x.sizes}, {a.scale_for(x.dim)!r}f, {block}, {_branch(a)})")
    caller = call.plan.caller(x.operations(a.num_heads, block + x.dim))
    work = call.plan.workspace(f"{plan}.attention.scratch_floats", caller)
    call.line(
        f"block_linear_attention<{plan}>({caller}{x.batch}, {x.length}, "
        f"{{{x.operands}, nullptr, {call.output().code}}}, {work});"
    )


def cached_attention(call: Call) -> None:
    a = CachedAttentionAttributes.parse(call.attributes())
    ring = _Ring(call, a.num_heads, frames=3)
    call.line(
        f"{ring.place}.step({ring.batch}, {ring.qkv}, {ring.frames}, {a.scale_for(ring.dim)!r}f, {call.output().code});"
    )


def cached_block_linear_attention(call: Call) -> None:
    a = CachedBlockLinearAttributes.parse(call.attributes())
    ring = _Ring(call, a.num_heads, frames=6)
    count, row, padded = a.num_heads * ring.dim, ring.dim + 1, f"linear_step_row({ring.dim})"
    places = []
    for index in (3, 4, 5):
        before, after = call.node.inputs[index], call.node.outputs[index]
        assert before is not None
        offset = call.plan.keep(
            before,
            after,
            entry=count * -(-row // 16) * 16 * 4,
            load=f"copy_rows(row, {row}, {count}, {row}, place, {padded});",
            store=f"copy_rows(place, {padded}, {count}, {row}, row, {row});",
        )
        places.append(f"at<float>(memory, {offset})")
    call.line(
        f"block_linear_step({ring.batch}, {_branch(a)}, {ring.place}, {{{', '.join(places)}}}, "
        f"{ring.qkv}, {ring.frames}, {ring.dim**-0.5!r}f, {call.output().code});"
    )


class _Ring:
    """Keys and values of a stream, kept in panels, of floats or of halves; `place` is the PanelRing."""

    def __init__(self, call: Call, heads: int, frames: int) -> None:
        keys, values = call.node.inputs[1], call.node.inputs[2]
        assert keys is not None and values is not None
        self.batch, slots, width = call.plan.shape(keys)
        if not (slots.fixed and width.fixed):
            raise NoForm("the size of its cache is open")
        self.dim = width.most // heads
        self.qkv, self.frames = call.input(0).code, call.input(frames).code
        halves = keys.dtype == ir.DataType.FLOAT16
        element, size = ("uint16_t", 2) if halves else ("float", 4)
        row, place = ("bits_of(row)", "bits_of(place)") if halves else ("row", "place")
        ring, panel = f"PanelRing<{heads}, {self.dim}, {slots}, {element}>", call.plan.isa.panel
        key_elements = heads * -(-slots.most // panel) * self.dim * panel
        value_elements = heads * -(-self.dim // panel) * slots.most * panel

        def kept(before: ir.Value, after: ir.Value, what: str, elements: int) -> str:
            offset = call.plan.keep(
                before,
                after,
                entry=elements * size,
                load=f"{ring}::load_{what}({row}, 1, {place});",
                store=f"{ring}::store_{what}({place}, 1, {row});",
            )
            return f"at<{element}>(memory, {offset})"

        places = [
            kept(keys, call.node.outputs[1], "keys", key_elements),
            kept(values, call.node.outputs[2], "values", value_elements),
        ]
        self.place = f"{ring}{{{', '.join(places)}}}"


def _sequences(call: Call, heads: int, kv_heads: int) -> _Sequences:
    q = call.input(0)
    batch, length, width = q.shape
    packed = not call.has(1)
    k, v = (q, q) if packed else (call.input(1), call.input(2))
    keys = k.shape[1]
    widths = (width, k.shape[2], v.shape[2])
    if not all(size.fixed for size in widths):
        raise NoForm("the width of its rows is open")
    dim = width.most // (heads + 2 * kv_heads if packed else heads)
    value_dim = dim if packed else v.shape[2].most // kv_heads
    starts = (0, heads * dim, (heads + kv_heads) * dim) if packed else (0, 0, 0)
    operands = [
        _operand(x.code, start, size, rows)
        for x, start, size, rows in zip((q, k, v), starts, widths, (length, keys, keys), strict=True)
    ]
    most = (batch.most, length.most, keys.most, heads, kv_heads, dim, value_dim)
    return _Sequences(batch, length, keys, dim, _list(most), ", ".join(operands))


def _operand(code: str, start: int, width: Size, rows: Size) -> str:
    return f"{{{code}{f' + {start}' if start else ''}, {width}, {width * rows}}}"


def _branch(a: BlockLinearAttributes | CachedBlockLinearAttributes) -> str:
    """The argument LinearBranch."""
    elu1, divide = a.feature_map == "elu1", a.normalizer == "key_sum"
    return _list((str(elu1).lower(), str(divide).lower(), f"{a.eps!r}f"))


def _list(items: Sequence[object]) -> str:
    return f"{{{', '.join(map(str, items))}}}"


FORMS: dict[str, Form] = {
    "BlockLinearAttention": block_linear_attention,
    "CachedAttention": cached_attention,
    "CachedBlockLinearAttention": cached_block_linear_attention,
    "OnlineSoftmaxAttention": online_softmax_attention,
}
