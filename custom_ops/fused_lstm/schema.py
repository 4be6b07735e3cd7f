"""ONNX schema of FusedLSTM, domain `temport`, version 1, registered when imported."""

from __future__ import annotations

from typing import Any

from onnx import defs, shape_inference

from temport.custom_ops import schema as shared

OP_NAME = "FusedLSTM"

_DOC = """The LSTM (Hochreiter and Schmidhuber 1997) of ai.onnx with one forward direction, no peepholes and the default
activations, in that operator's layouts: c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c), gates stacked
i, o, f, g."""


def _infer(context: shape_inference.InferenceContext) -> None:
    hidden = shared.attribute_value(context, "hidden_size")

    def shapes(x: list[Any], *_: list[Any]) -> list[list[Any]]:
        return [[x[0], 1, x[1], hidden], [1, x[1], hidden], [1, x[1], hidden]]

    shared.infer_from_shapes(context, OP_NAME, (3, 3, 3), shapes)


SCHEMA = defs.OpSchema(
    OP_NAME,
    shared.DOMAIN,
    shared.VERSION,
    _DOC,
    inputs=[
        shared.parameter("X", "T", "[seq, batch, inputs]"),
        shared.parameter("W", "T", "[1, 4*hidden, inputs]"),
        shared.parameter("R", "T", "[1, 4*hidden, hidden]"),
        shared.parameter("B", "T", "[1, 8*hidden], input and recurrent biases side by side", shared.Optional),
        shared.parameter("initial_h", "T", "[1, batch, hidden]; zero where absent", shared.Optional),
        shared.parameter("initial_c", "T", "[1, batch, hidden]; zero where absent", shared.Optional),
    ],
    outputs=[
        shared.parameter("Y", "T", "[seq, 1, batch, hidden], h of every frame"),
        shared.parameter("Y_h", "T", "[1, batch, hidden], the last h", shared.Optional),
        shared.parameter("Y_c", "T", "[1, batch, hidden], the last c", shared.Optional),
    ],
    type_constraints=[("T", shared.FLOAT_TYPES, "Floating-point tensors; our kernel takes float32.")],
    attributes=[
        defs.OpSchema.Attribute("hidden_size", defs.OpSchema.AttrType.INT, "hidden units", required=True)
    ],
)
SCHEMA.set_type_and_shape_inference_function(_infer)
defs.register_schema(SCHEMA)
