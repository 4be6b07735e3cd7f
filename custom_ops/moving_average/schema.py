"""ONNX schema of MovingAverage, domain `temport`, version 1, registered when imported."""

from __future__ import annotations

from onnx import defs, shape_inference

from temport.custom_ops import schema as shared

OP_NAME = "MovingAverage"

_DOC = """Y[b, t, c] = sum over i, j < taps of Near[c, taps-1-i] Far[c, taps-1-j] X[b, t - i - taps*j, c], where frames
before the first are zeros: a causal depthwise convolution of taps^2 frames as two of `taps` (for an exponential moving
average see Ma et al. 2023, arXiv 2209.10655, equation 2). A Conv wants the frames last, so standard operators transpose
before and after; our kernel reads and writes rows as they are."""

_WEIGHT = "[C, 1, 1, taps], oldest first, as the weight of a Conv"


def _infer(context: shape_inference.InferenceContext) -> None:
    shared.infer_from_shapes(context, OP_NAME, (3, 4, 4), lambda x, *_: [x])


SCHEMA = defs.OpSchema(
    OP_NAME,
    shared.DOMAIN,
    shared.VERSION,
    _DOC,
    inputs=[
        shared.parameter("X", "T", "[batch, T, C]"),
        shared.parameter("Near", "T", f"{_WEIGHT}: of the last `taps` frames"),
        shared.parameter("Far", "T", f"{_WEIGHT}: of what Near makes, `taps` frames apart"),
    ],
    outputs=[shared.parameter("Y", "T", "[batch, T, C]")],
    type_constraints=[("T", shared.FLOAT_TYPES, "Floating-point tensors; our kernel takes float32.")],
    attributes=[
        defs.OpSchema.Attribute("channels", defs.OpSchema.AttrType.INT, "C, at least 1", required=True),
        defs.OpSchema.Attribute("taps", defs.OpSchema.AttrType.INT, "at least 1", required=True),
    ],
)
SCHEMA.set_type_and_shape_inference_function(_infer)
defs.register_schema(SCHEMA)
