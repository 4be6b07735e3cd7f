"""ONNX schema of ResidualLayerNorm, domain `temport`, version 1, registered when imported."""

from __future__ import annotations

from onnx import defs, shape_inference

from temport.custom_ops import schema as shared

OP_NAME = "ResidualLayerNorm"

_DOC = """Y = (X + R - mean) / sqrt(variance + epsilon) * Scale + B: layer normalisation (Ba, Kiros and Hinton 2016) of
a residual sum, with mean and variance of X + R over the last axis; the variance is that of a population, without the
correction for a sample. With centred = 0 the mean is taken for 0: root mean square normalisation (Zhang and Sennrich
2019)."""


def _infer(context: shape_inference.InferenceContext) -> None:
    shared.infer_from_shapes(context, OP_NAME, (None, 1, 1), lambda x, *_: [x])


SCHEMA = defs.OpSchema(
    OP_NAME,
    shared.DOMAIN,
    shared.VERSION,
    _DOC,
    inputs=[
        shared.parameter("X", "T", "[..., width]"),
        shared.parameter("Scale", "T", "[width]"),
        shared.parameter("B", "T", "[width]"),
        shared.parameter("R", "T", "of X's shape, the addend; 0 where absent", shared.Optional),
    ],
    outputs=[shared.parameter("Y", "T", "[..., width]")],
    type_constraints=[("T", shared.FLOAT_TYPES, "Floating-point tensors; our kernel takes float32.")],
    attributes=[
        shared.attribute_with_default("epsilon", 1e-5, "added to the variance"),
        shared.attribute_with_default("centred", 1, "1: the mean is taken off; 0: it is taken for 0"),
    ],
)
SCHEMA.set_type_and_shape_inference_function(_infer)
defs.register_schema(SCHEMA)
