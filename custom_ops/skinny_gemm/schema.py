"""ONNX schema of SkinnyGemm, domain `temport`, version 1, registered when imported."""

from __future__ import annotations

from onnx import defs, shape_inference

from custom_ops import schema as shared

OP_NAME = "SkinnyGemm"

_DOC = """X W^T + B, the dense layer of torch.nn.functional.linear, where X has few rows: one frame of a stream, or the
last position of a window. Its time is that of reading W, which our kernel packs in the order of reading, once, when
the model is loaded."""


def _infer(context: shape_inference.InferenceContext) -> None:
    shared.infer_from_shapes(context, OP_NAME, (2, 2), lambda x, w, *_: [[x[0], w[0]]])


SCHEMA = defs.OpSchema(
    OP_NAME,
    shared.DOMAIN,
    shared.VERSION,
    _DOC,
    inputs=[
        shared.parameter("X", "T", "[M, K]"),
        shared.parameter("W", "T", "[N, K]"),
        shared.parameter("B", "T", "[N]"),
    ],
    outputs=[shared.parameter("Y", "T", "[M, N]")],
    type_constraints=[("T", shared.FLOAT_TYPES, "Floating-point tensors; our kernel takes float32.")],
)
SCHEMA.set_type_and_shape_inference_function(_infer)
defs.register_schema(SCHEMA)
