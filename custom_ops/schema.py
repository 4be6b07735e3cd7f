"""What the op schemas share: the domain, the element types, and shape inference from the input layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx
from onnx import defs, shape_inference

from temport.custom_ops.domain import DOMAIN as DOMAIN
from temport.custom_ops.domain import VERSION as VERSION
from temport.custom_ops.layout import Layout, read_layout

FLOAT_TYPES = ["tensor(float16)", "tensor(bfloat16)", "tensor(float)", "tensor(double)"]

Required = defs.OpSchema.FormalParameterOption.Single
Optional = defs.OpSchema.FormalParameterOption.Optional


def parameter(
    name: str, type_str: str, doc: str, option: defs.OpSchema.FormalParameterOption = Required
) -> defs.OpSchema.FormalParameter:
    """One formal input or output."""
    return defs.OpSchema.FormalParameter(name, type_str, doc, param_option=option)


def attribute_with_default(name: str, default: int | float | str, doc: str) -> defs.OpSchema.Attribute:
    """An optional attribute with a default value."""
    return defs.OpSchema.Attribute(name, onnx.helper.make_attribute(name, default), doc)


def attribute_value(context: shape_inference.InferenceContext, name: str) -> Any:
    """The node's attribute as a Python value, or None when it is absent."""
    attribute = context.get_attribute(name)
    return None if attribute is None else onnx.helper.get_attribute_value(attribute)


def infer_output(
    context: shape_inference.InferenceContext,
    read: Callable[[list[list[Any] | None]], Layout],
    num_heads: int,
) -> None:
    """Set output 0 to `[B, T, H*Dv]` of Q's element type; an unknown size stays unknown."""
    query = context.get_input_type(0)
    if query is None or query.tensor_type.elem_type == 0:
        return
    shapes: list[list[Any] | None] = []
    for i in range(context.get_num_inputs()):
        present = context.has_input(i)
        kind = context.get_input_type(i) if present else None
        if present and (kind is None or not kind.tensor_type.HasField("shape")):
            shapes = []  # an input of unknown rank: only the element type is known
            break
        shapes.append(None if kind is None else [_size(d) for d in kind.tensor_type.shape.dim])
    output = onnx.TypeProto()
    output.tensor_type.elem_type = query.tensor_type.elem_type
    if shapes:
        layout = read(shapes)
        for size in query.tensor_type.shape.dim[:2]:
            output.tensor_type.shape.dim.add().CopyFrom(size)
        width = output.tensor_type.shape.dim.add()
        if layout.value_dim is not None:
            width.dim_value = num_heads * layout.value_dim
    context.set_output_type(0, output)


def infer_from_shapes(
    context: shape_inference.InferenceContext,
    op: str,
    ranks: Sequence[int | None],
    shapes: Callable[..., list[list[Any]]],
    like: Sequence[int] = (),
) -> None:
    """Set each output to the element type of an input, for each output as `like` says, else of input 0, and to what
    `shapes` makes of the input shapes.

    Sizes are numbers, symbols, or None where unknown; an absent input is an empty list. ValueError where one of the
    first inputs has another number of axes than `ranks` says; None stands for any number from 1.
    """
    kinds = [
        context.get_input_type(i) if context.has_input(i) else None for i in range(context.get_num_inputs())
    ]
    given = [kind.tensor_type for kind in kinds if kind is not None]
    if not all(kind.HasField("shape") for kind in given):
        return
    read = [
        [] if kind is None else [_size(d) or d.dim_param or None for d in kind.tensor_type.shape.dim]
        for kind in kinds
    ]
    for index, (rank, shape) in enumerate(zip(ranks, read, strict=False)):
        if len(shape) != rank if rank is not None else not shape:
            wanted = "1 or more" if rank is None else rank
            raise ValueError(f"{op}: input {index} has {len(shape)} axes; it must have {wanted}.")
    for index, shape in enumerate(shapes(*read)[: context.get_num_outputs()]):
        source = given[like[index] if index < len(like) else 0]
        context.set_output_type(index, onnx.helper.make_tensor_type_proto(source.elem_type, shape))


def read_shapes(op: str, shapes: list[list[Any] | None], *, num_heads: int, kv_num_heads: int) -> Layout:
    """`read_layout` over a node's list of input shapes."""
    q, k, v, key_mask = [*shapes, None, None, None][:4]
    assert q is not None
    return read_layout(op, q, k, v, num_heads=num_heads, kv_num_heads=kv_num_heads, key_mask=key_mask)


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    return dim.dim_value if dim.HasField("dim_value") else None
