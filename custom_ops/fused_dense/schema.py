"""ONNX schema of FusedDense, domain `temport`, version 1, registered when imported."""

from __future__ import annotations

from typing import Any

from onnx import defs, shape_inference

from temport.custom_ops import schema as shared
from temport.custom_ops import stored_weight

OP_NAME = "FusedDense"
OUTPUTS = -1
"""The axis of W's outputs."""
ACTIVATIONS = ("none", "relu", "gelu", "sigmoid", "silu")

_DOC = """Y = activation(X W + B) * M + R: a dense layer with its epilogue. With X_scale s, X is s times the integers
from -128 to 127 next to X / s, ties to even, as QuantizeLinear and DequantizeLinear of ai.onnx have it; our kernel
multiplies them with W of int8 as integers. With `groups` G, columns g*K.. of X times W[g] are columns g*N.. of Y: one
dense layer per group, attention's products by head. Our kernel packs a constant W in the order of reading, once, when
the model is loaded. Activations: none; relu; gelu, x Phi(x) with the exact erf (Hendrycks and Gimpel 2016); sigmoid;
silu, x sigmoid(x)."""


def _infer(context: shape_inference.InferenceContext) -> None:
    groups = shared.attribute_value(context, "groups") or 1

    def shapes(x: list[Any], w: list[Any], *_: list[Any]) -> list[list[Any]]:
        width = w[-1]
        return [[*x[:-1], width * groups if isinstance(width, int) else width if groups == 1 else None]]

    ranks = (None, 2, 1) if groups == 1 else (2, 3, 1)
    shared.infer_from_shapes(context, OP_NAME, ranks, shapes)


SCHEMA = defs.OpSchema(
    OP_NAME,
    shared.DOMAIN,
    shared.VERSION,
    _DOC,
    inputs=[
        shared.parameter("X", "T", "[..., K] of one group, any axes before the last; [rows, G*K] of several"),
        shared.parameter("W", "TW", "[K, N] of one group, [G, K, N] of several"),
        shared.parameter("B", "T", "[G*N]"),
        shared.parameter("M", "T", "of Y's shape, the factor; 1 where absent", shared.Optional),
        shared.parameter("R", "T", "of Y's shape, the addend; 0 where absent", shared.Optional),
        shared.parameter("W_scale", "T", f"{stored_weight.SCALE_DOC}", shared.Optional),
        shared.parameter(
            "X_scale",
            "T",
            "[], above 0: X is rounded to int8 times it; not rounded where absent",
            shared.Optional,
        ),
    ],
    outputs=[shared.parameter("Y", "T", "[..., N] of one group, [rows, G*N] of several")],
    type_constraints=[
        ("T", shared.FLOAT_TYPES, "Floating-point tensors; our kernel takes float32."),
        ("TW", stored_weight.TYPES, f"As T, or {stored_weight.DOC}"),
    ],
    attributes=[
        shared.attribute_with_default("activation", "none", f"one of {', '.join(ACTIVATIONS)}"),
        shared.attribute_with_default("groups", 1, "G, dense layers side by side, at least 1"),
    ],
)
SCHEMA.set_type_and_shape_inference_function(_infer)
defs.register_schema(SCHEMA)
