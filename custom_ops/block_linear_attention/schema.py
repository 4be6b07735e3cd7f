"""ONNX schema of BlockLinearAttention, domain `temport`, version 1, registered when imported."""

from __future__ import annotations

from typing import Any

from onnx import defs, shape_inference

from temport.custom_ops import schema as shared
from temport.custom_ops.block_linear_attention.attributes import (
    ATTRIBUTE_NAMES,
    OP_NAME,
    BlockLinearAttributes,
)

_DOC = """Causal attention in blocks of block_size rows: softmax attention inside the block (with scale),
plus phi(q) S_b / (phi(q).z_b + eps) over the earlier blocks, S_b = sum phi(k)^T v, z_b = sum phi(k); block 0
has no linear part and the last block may be shorter. With feature_map identity and normalizer key_sum the
denominator can pass through 0, so outputs can be arbitrarily large there; elu1 keeps it positive. This is not
the decay-weighted softmax-free kernel of the Lightning Attention-2 paper (arXiv 2401.04658)."""


def _infer(context: shape_inference.InferenceContext) -> None:
    present = {name: shared.attribute_value(context, name) for name in ATTRIBUTE_NAMES}
    text = {name: v.decode() if isinstance(v, bytes) else v for name, v in present.items() if v is not None}
    a = BlockLinearAttributes.parse(text)

    def read(shapes: list[list[Any] | None]) -> shared.Layout:
        layout = shared.read_shapes(OP_NAME, shapes, num_heads=a.num_heads, kv_num_heads=a.num_heads)
        a.check_lengths(layout)
        return layout

    shared.infer_output(context, read, a.num_heads)


_INT, _FLOAT = defs.OpSchema.AttrType.INT, defs.OpSchema.AttrType.FLOAT
_ATTRIBUTE, _default = defs.OpSchema.Attribute, shared.attribute_with_default

SCHEMA = defs.OpSchema(
    OP_NAME,
    shared.DOMAIN,
    shared.VERSION,
    _DOC,
    inputs=[
        shared.parameter("Q", "T", "[B, T, H*D], or [B, T, 3*H*D] packed QKV when K and V are absent"),
        shared.parameter("K", "T", "[B, T, H*D]", shared.Optional),
        shared.parameter("V", "T", "[B, T, H*Dv]", shared.Optional),
    ],
    outputs=[shared.parameter("Y", "T", "[B, T, H*Dv]")],
    type_constraints=[("T", shared.FLOAT_TYPES, "Floating-point tensors.")],
    attributes=[
        _ATTRIBUTE("num_heads", _INT, "heads H of Q, K and V", required=True),
        _ATTRIBUTE("block_size", _INT, "rows per block", required=True),
        _ATTRIBUTE(
            "scale", _FLOAT, "factor on Q K^T of the intra-block softmax; default 1/sqrt(D)", required=False
        ),
        _default("feature_map", "identity", "identity, or elu1 = elu(x) + 1"),
        _default("normalizer", "key_sum", "key_sum, or none"),
        _default("eps", 1e-8, "added to the denominator of the linear part"),
    ],
)


SCHEMA.set_type_and_shape_inference_function(_infer)
defs.register_schema(SCHEMA)
