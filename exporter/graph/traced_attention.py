"""torch's `scaled_dot_product_attention` as one node of a traced graph; the passes leave none.

Attention of an ONNX file becomes the same node; there, queries may come after a past of keys.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TypeProto, defs, shape_inference
from onnx.reference.op_run import OpRun

from temport.custom_ops.schema import FLOAT_TYPES, Optional, attribute_with_default, parameter

DOMAIN, VERSION, NAME = "temport.trace", 1, "ScaledDotProductAttention"

SCHEMA = defs.OpSchema(
    NAME,
    DOMAIN,
    VERSION,
    "softmax(scale * Q K^T + mask) V as torch defines it; a query without an allowed key gives 0.",
    inputs=[
        parameter("Q", "T", "[..., T, D]"),
        parameter("K", "T", "[..., S, D]"),
        parameter("V", "T", "[..., S, Dv]"),
        parameter("mask", "M", "bool, True = attend, or added to the scores; broadcasts to them", Optional),
    ],
    outputs=[parameter("Y", "T", "[..., T, Dv]")],
    type_constraints=[
        ("T", FLOAT_TYPES, "Floating-point tensors."),
        ("M", ["tensor(bool)", *FLOAT_TYPES], "Masks."),
    ],
    attributes=[
        attribute_with_default("is_causal", 0, "1: query t sees keys 0 to t"),
        attribute_with_default("from_the_end", 0, "1: the last query sees all keys, the one before one less"),
        attribute_with_default("enable_gqa", 0, "1: K and V have fewer heads, each for a group of queries'"),
        defs.OpSchema.Attribute("scale", defs.OpSchema.AttrType.FLOAT, "default 1/sqrt(D)", required=False),
    ],
)


def _infer(context: shape_inference.InferenceContext) -> None:
    query, value = context.get_input_type(0), context.get_input_type(2)
    output = TypeProto()
    output.tensor_type.elem_type = query.tensor_type.elem_type
    if query.tensor_type.HasField("shape") and value.tensor_type.HasField("shape"):
        for dim in (*query.tensor_type.shape.dim[:-1], value.tensor_type.shape.dim[-1]):
            output.tensor_type.shape.dim.add().CopyFrom(dim)
    context.set_output_type(0, output)


SCHEMA.set_type_and_shape_inference_function(_infer)
defs.register_schema(SCHEMA)


def reference(
    q: npt.NDArray[Any],
    k: npt.NDArray[Any],
    v: npt.NDArray[Any],
    mask: npt.NDArray[Any] | None = None,
    is_causal: int = 0,
    enable_gqa: int = 0,
    scale: float | None = None,
    from_the_end: int = 0,
) -> npt.NDArray[np.float64]:
    """The definition in float64, shapes as the schema says."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    if enable_gqa:
        k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], axis=-3) for x in (k, v))
    scores = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        queries, keys = scores.shape[-2:]
        seen = np.tri(queries, keys, keys - queries if from_the_end else 0, dtype=np.bool_)
        scores = np.where(seen, scores, -np.inf)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    highest = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(highest == -np.inf, 0, highest))
    total = weights.sum(axis=-1, keepdims=True)
    return np.asarray(weights / np.where(total == 0, 1, total) @ v)


class TracedAttention(OpRun):
    """The node for ONNX's evaluator."""

    op_domain = DOMAIN

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        return (reference(*inputs, **attributes).astype(inputs[0].dtype),)


TracedAttention.__name__ = NAME  # the evaluator finds it so
