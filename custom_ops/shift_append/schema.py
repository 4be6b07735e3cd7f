"""ONNX schema of ShiftAppend, domain `temport`, version 1, registered when imported."""

from __future__ import annotations

from onnx import defs, shape_inference

from custom_ops import schema as shared

OP_NAME = "ShiftAppend"

_DOC = """A cache of the last N entries, oldest first, with its oldest entry dropped and Newest added at its end. As
Slice and Concat the cache is copied twice."""


def _infer(context: shape_inference.InferenceContext) -> None:
    shared.infer_from_shapes(context, OP_NAME, (), lambda cache, *_: [cache])


SCHEMA = defs.OpSchema(
    OP_NAME,
    shared.DOMAIN,
    shared.VERSION,
    _DOC,
    inputs=[
        shared.parameter("Cache", "T", "[batch, N, ...]"),
        shared.parameter("Newest", "T", "[batch, 1, ...]"),
    ],
    outputs=[shared.parameter("Shifted", "T", "[batch, N, ...]")],
    type_constraints=[("T", shared.FLOAT_TYPES, "Floating-point tensors; our kernel takes float32.")],
)
SCHEMA.set_type_and_shape_inference_function(_infer)
defs.register_schema(SCHEMA)
