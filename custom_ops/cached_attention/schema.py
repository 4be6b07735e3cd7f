"""ONNX schema of CachedAttention, domain `temport`, version 1, registered when imported."""

from __future__ import annotations

from typing import Any

from onnx import defs, shape_inference

from temport.custom_ops import schema as shared
from temport.custom_ops.cached_attention.attributes import ATTRIBUTE_NAMES, OP_NAME, CachedAttentionAttributes
from temport.custom_ops.ring import read_ring

_DOC = """Attention of the newest frame of a stream to the last N, which two caches hold. The frame's key and value
take row Frames mod N of the caches (floor modulus), and its query attends to rows 0..min(Frames, N-1) of what comes
out: softmax(scale * q K^T) V by head, in float32 (float64 for double). The order of the rows does not matter. With
negative Frames no row is filled and Y is 0. NextKeys may lie in the memory of Keys and NextValues in that of Values:
the one row that differs is written before it is read. In the kernel a row that is not filled has no influence, whatever
it holds; infinite scores are those of OnlineSoftmaxAttention. Beside a T of float32 the caches may be float16: then
the frame's key and value are rounded as they are written, to the nearest, of two the even one, and to infinity from
65520 on, and read so."""


def _infer(context: shape_inference.InferenceContext) -> None:
    present = {name: shared.attribute_value(context, name) for name in ATTRIBUTE_NAMES}
    a = CachedAttentionAttributes.parse({name: value for name, value in present.items() if value is not None})

    def shapes(qkv: list[Any], keys: list[Any], values: list[Any], frames: list[Any]) -> list[list[Any]]:
        ring = read_ring(OP_NAME, qkv, keys, values, frames, num_heads=a.num_heads)
        return [[ring.batch, *qkv[1:-1], ring.width], keys, values]

    shared.infer_from_shapes(context, OP_NAME, (None, 3, 3, 2), shapes, like=(0, 1, 2))


SCHEMA = defs.OpSchema(
    OP_NAME,
    shared.DOMAIN,
    shared.VERSION,
    _DOC,
    inputs=[
        shared.parameter("QKV", "T", "[B, 1, 3*H*D] or [B, 3*H*D], query, key and value of the newest frame"),
        shared.parameter("Keys", "C", "[B, N, H*D]"),
        shared.parameter("Values", "C", "[B, N, H*D]"),
        shared.parameter("Frames", "I", "[B, 1], frames of this stream before the newest"),
    ],
    outputs=[
        shared.parameter("Y", "T", "[B, 1, H*D] or [B, H*D], as QKV is"),
        shared.parameter("NextKeys", "C", "[B, N, H*D]"),
        shared.parameter("NextValues", "C", "[B, N, H*D]"),
    ],
    type_constraints=[
        ("T", shared.FLOAT_TYPES, "Floating-point tensors."),
        ("C", shared.FLOAT_TYPES, "The same type, or float16 beside float."),
        ("I", ["tensor(int64)"], "A counter."),
    ],
    attributes=[
        defs.OpSchema.Attribute("num_heads", defs.OpSchema.AttrType.INT, "heads H", required=True),
        defs.OpSchema.Attribute(
            "scale", defs.OpSchema.AttrType.FLOAT, "factor on q K^T; default 1/sqrt(D)", required=False
        ),
    ],
)


SCHEMA.set_type_and_shape_inference_function(_infer)
defs.register_schema(SCHEMA)
