"""What the ops of recurrent layers share: a schema in the layouts of ai.onnx, and that operator as their body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import AttributeProto, defs, helper, shape_inference

from temport.custom_ops import node as read
from temport.custom_ops import schema as shared
from temport.custom_ops import stored_weight
from temport.custom_ops.op import Body, Host
from temport.custom_ops.plain_body import plain_body
from temport.custom_ops.stored_weight import Stored, numbers, stored, wide_nodes

STATES = ("h", "c")
WEIGHTS = ("W", "R")
OUTPUTS = 1
"""The axis of their outputs."""


def recurrent_schema(name: str, doc: str, *, gates: int, states: int) -> defs.OpSchema:
    """The schema of a layer of so many gates that hands on h, or h and c; registered with onnx."""

    def infer(context: shape_inference.InferenceContext) -> None:
        hidden = shared.attribute_value(context, "hidden_size")

        def shapes(x: list[Any], *_: list[Any]) -> list[list[Any]]:
            return [[x[0], 1, x[1], hidden], *[[1, x[1], hidden]] * states]

        shared.infer_from_shapes(context, name, (3, 3, 3), shapes)

    both = f"[1, {2 * gates}*hidden], input and recurrent biases side by side"
    schema = defs.OpSchema(
        name,
        shared.DOMAIN,
        shared.VERSION,
        doc,
        inputs=[
            shared.parameter("X", "T", "[seq, batch, inputs]"),
            shared.parameter("W", "TW", f"[1, {gates}*hidden, inputs]"),
            shared.parameter("R", "TR", f"[1, {gates}*hidden, hidden]"),
            shared.parameter("B", "T", both, shared.Optional),
            *(
                shared.parameter(
                    f"initial_{state}", "T", "[1, batch, hidden]; zero where absent", shared.Optional
                )
                for state in STATES[:states]
            ),
            *(shared.parameter(f"{w}_scale", "T", stored_weight.SCALE_DOC, shared.Optional) for w in WEIGHTS),
        ],
        outputs=[
            shared.parameter("Y", "T", "[seq, 1, batch, hidden], h of every frame"),
            *(
                shared.parameter(f"Y_{state}", "T", f"[1, batch, hidden], the last {state}", shared.Optional)
                for state in STATES[:states]
            ),
        ],
        type_constraints=[
            ("T", shared.FLOAT_TYPES, "Floating-point tensors; our kernel takes float32."),
            *((f"T{w}", stored_weight.TYPES, f"As T, or {stored_weight.DOC}") for w in WEIGHTS),
        ],
        attributes=[
            defs.OpSchema.Attribute("hidden_size", defs.OpSchema.AttrType.INT, "hidden units", required=True)
        ],
    )
    schema.set_type_and_shape_inference_function(infer)
    defs.register_schema(schema)
    return schema


@dataclass(frozen=True)
class RecurrentNode:
    """What a body depends on: the opset, and how W and R are stored, None where as numbers."""

    opset: int
    weights: tuple[Stored | None, Stored | None] = (None, None)


def recurrent_node(schema: defs.OpSchema, node: ir.Node, host: Host) -> RecurrentNode:
    """The specialisation of a node."""
    given = read.inputs(node, schema)
    w, r = (stored(given.get(w), given.get(f"{w}_scale"), given.get("X"), OUTPUTS) for w in WEIGHTS)
    return RecurrentNode(host.opset, (w, r))


def recurrent_body(schema: defs.OpSchema, at: RecurrentNode, standard: str, **attributes: Any) -> Body:
    """The op as the one standard operator that it stands for, after what makes numbers of its weights."""
    inputs = [p.name for p in schema.inputs if not p.name.endswith("_scale")]
    before: list[onnx.NodeProto] = []
    for weight, way in zip(WEIGHTS, at.weights, strict=True):
        nodes, name = wide_nodes(way, weight, f"{weight}_scale", "X")
        before += nodes
        inputs[inputs.index(weight)] = name
    lengths = ""  # absent: every sequence has all its frames
    node = helper.make_node(
        standard, [*inputs[:4], lengths, *inputs[4:]], [p.name for p in schema.outputs], **attributes
    )
    size = AttributeProto(name="hidden_size", ref_attr_name="hidden_size", type=AttributeProto.INT)
    node.attribute.append(size)
    return plain_body(schema, at.opset, [*before, node])


def read_inputs(
    schema: defs.OpSchema, gates: int, inputs: Sequence[npt.NDArray[Any] | None], hidden_size: int
) -> list[npt.NDArray[np.float64] | None]:
    """Every input but scales in float64, None where it is absent; ValueError for weights that do not fit."""
    given = [*inputs, *[None] * len(schema.inputs)][: len(schema.inputs)]
    for place in (1, 2):
        if (weight := given[place]) is not None:
            given[place] = numbers(weight, given[len(given) - 3 + place], OUTPUTS)
    x, w, r, *_ = given
    if x is None or w is None or r is None:
        raise ValueError(f"{schema.name}: X, W and R must be given.")
    rows, width = gates * hidden_size, x.shape[2]
    if w.shape != (1, rows, width) or r.shape != (1, rows, hidden_size):
        raise ValueError(
            f"{schema.name}: with hidden_size {hidden_size}, W must be [1, {rows}, {width}], "
            f"R [1, {rows}, {hidden_size}]."
        )
    return [
        None if array is None else array.astype(np.float64, copy=False) for array in given[: len(given) - 2]
    ]


def sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # no overflow
