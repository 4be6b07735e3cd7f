"""ONNX schema of OnlineSoftmaxAttention, domain `temport`, version 1, registered when imported."""

from __future__ import annotations

from onnx import defs, shape_inference

from temport.custom_ops import schema as shared
from temport.custom_ops.online_softmax_attention.attributes import (
    ATTRIBUTE_NAMES,
    OP_NAME,
    OnlineSoftmaxAttributes,
)

_DOC = """softmax(scale * Q K^T over the allowed keys) V, in one pass over tiles of keys with a running
maximum and sum (Rabe and Staats, arXiv 2112.05682; FlashAttention, arXiv 2205.14135): memory is O(T).
Query row t stands at key position i = t + query_offset and may see key j when j <= i (causal, or window > 0),
j > i - window (window > 0) and key_mask[b, j]. The softmax is taken in float32 (float64 for double).
A query that may see no key gives 0."""


def _infer(context: shape_inference.InferenceContext) -> None:
    present = {name: shared.attribute_value(context, name) for name in ATTRIBUTE_NAMES}
    a = OnlineSoftmaxAttributes.parse({name: value for name, value in present.items() if value is not None})
    shared.infer_output(
        context,
        lambda shapes: shared.read_shapes(OP_NAME, shapes, num_heads=a.num_heads, kv_num_heads=a.kv_heads),
        a.num_heads,
    )


_INT, _FLOAT = defs.OpSchema.AttrType.INT, defs.OpSchema.AttrType.FLOAT
_ATTRIBUTE, _default = defs.OpSchema.Attribute, shared.attribute_with_default

SCHEMA = defs.OpSchema(
    OP_NAME,
    shared.DOMAIN,
    shared.VERSION,
    _DOC,
    inputs=[
        shared.parameter(
            "Q", "T", "[B, T, H*D], or [B, T, (H + 2*Hkv)*D] packed QKV when K and V are absent"
        ),
        shared.parameter("K", "T", "[B, S, Hkv*D]", shared.Optional),
        shared.parameter("V", "T", "[B, S, Hkv*Dv]", shared.Optional),
        shared.parameter("key_mask", "M", "[B, S], True = attend", shared.Optional),
    ],
    outputs=[shared.parameter("Y", "T", "[B, T, H*Dv]")],
    type_constraints=[
        ("T", shared.FLOAT_TYPES, "Floating-point tensors."),
        ("M", ["tensor(bool)"], "Boolean mask."),
    ],
    attributes=[
        _ATTRIBUTE("num_heads", _INT, "heads H of Q", required=True),
        _ATTRIBUTE("kv_num_heads", _INT, "heads Hkv of K and V, a divisor of H; default H", required=False),
        _default("causal", 0, "1: keys later than the query are excluded"),
        _default("window", 0, "keys a query sees including its own position; 0: no limit"),
        _default("query_offset", -1, "key position of query row 0; -1: S - T"),
        _ATTRIBUTE("scale", _FLOAT, "factor on Q K^T; default 1/sqrt(D)", required=False),
    ],
)


SCHEMA.set_type_and_shape_inference_function(_infer)
defs.register_schema(SCHEMA)
