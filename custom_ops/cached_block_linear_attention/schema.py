"""ONNX schema of CachedBlockLinearAttention, domain `temport`, version 1, registered when imported."""

from __future__ import annotations

from typing import Any

from onnx import defs, shape_inference

from temport.custom_ops import schema as shared
from temport.custom_ops.cached_block_linear_attention.attributes import (
    ATTRIBUTE_NAMES,
    OP_NAME,
    CachedBlockLinearAttributes,
)
from temport.custom_ops.ring import check_sums, read_ring

_DOC = """One frame of BlockLinearAttention with blocks of N frames. Two caches hold the keys and values of the
current block: the frame takes row Frames mod N (floor modulus), and its query attends to rows 0 to that one:
softmax(q K^T / sqrt(D)) V by head. To this the linear part phi(q) S / (phi(q).z + eps) over the earlier blocks is
added, [S z] = Earlier. phi(k)^T [v 1] is added to Block by compensated summation (Kahan 1965), Lost being what
rounding took from the last addition; at row N-1 the block's sum goes over into Earlier and Block starts again from 0.
NextKeys may lie in the memory of Keys and NextValues in that of Values; no other output may share memory."""


def _infer(context: shape_inference.InferenceContext) -> None:
    present = {name: shared.attribute_value(context, name) for name in ATTRIBUTE_NAMES}
    text = {name: v.decode() if isinstance(v, bytes) else v for name, v in present.items() if v is not None}
    a = CachedBlockLinearAttributes.parse(text)

    def shapes(qkv: list[Any], keys: list[Any], values: list[Any], *others: list[Any]) -> list[list[Any]]:
        *sums, frames = others
        ring = read_ring(OP_NAME, qkv, keys, values, frames, num_heads=a.num_heads)
        check_sums(OP_NAME, ring, a.num_heads, **dict(zip(("Earlier", "Block", "Lost"), sums, strict=True)))
        return [[ring.batch, *qkv[1:-1], ring.width], keys, values, *sums]

    shared.infer_from_shapes(context, OP_NAME, (None, 3, 3, 4, 4, 4, 2), shapes)


_ROWS, _SUMS = "[B, N, H*D]", "[B, H, D, D+1]"
_default = shared.attribute_with_default

SCHEMA = defs.OpSchema(
    OP_NAME,
    shared.DOMAIN,
    shared.VERSION,
    _DOC,
    inputs=[
        shared.parameter("QKV", "T", "[B, 1, 3*H*D] or [B, 3*H*D], query, key and value of the newest frame"),
        shared.parameter("Keys", "T", _ROWS),
        shared.parameter("Values", "T", _ROWS),
        shared.parameter("Earlier", "T", f"{_SUMS}, sum of phi(k)^T [v 1] over the blocks before this one"),
        shared.parameter("Block", "T", f"{_SUMS}, the same over the frames of this block so far"),
        shared.parameter("Lost", "T", f"{_SUMS}, what rounding took from the last addition to Block"),
        shared.parameter("Frames", "I", "[B, 1], frames of this stream before the newest"),
    ],
    outputs=[
        shared.parameter("Y", "T", "[B, 1, H*D] or [B, H*D], as QKV is"),
        shared.parameter("NextKeys", "T", _ROWS),
        shared.parameter("NextValues", "T", _ROWS),
        shared.parameter("NextEarlier", "T", _SUMS),
        shared.parameter("NextBlock", "T", _SUMS),
        shared.parameter("NextLost", "T", _SUMS),
    ],
    type_constraints=[
        ("T", shared.FLOAT_TYPES, "Floating-point tensors."),
        ("I", ["tensor(int64)"], "A counter."),
    ],
    attributes=[
        defs.OpSchema.Attribute("num_heads", defs.OpSchema.AttrType.INT, "heads H", required=True),
        _default("feature_map", "identity", "identity, or elu1 = elu(x) + 1"),
        _default("normalizer", "key_sum", "key_sum, or none"),
        _default("eps", 1e-8, "added to the denominator of the linear part"),
    ],
)


SCHEMA.set_type_and_shape_inference_function(_infer)
defs.register_schema(SCHEMA)
