"""What an op reads off one of its nodes to say which body serves it."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnx import defs


def attributes(node: ir.Node, schema: defs.OpSchema) -> dict[str, Any]:
    """The attributes of the node by name; ValueError where one is left to its default, which a body does not know."""
    for name in schema.attributes:
        if name not in node.attributes:
            raise ValueError(
                f"{schema.name}: the body needs the attribute {name}; every node must write all of them."
            )
    return {name: attribute.value for name, attribute in node.attributes.items()}


def inputs(node: ir.Node, schema: defs.OpSchema) -> dict[str, ir.Value]:
    """The inputs that the node has, by the names of the schema."""
    return {
        parameter.name: value
        for parameter, value in zip(schema.inputs, node.inputs, strict=False)
        if value is not None
    }


def shape(value: ir.Value) -> list[int | None]:
    """The size of each axis, None where it is dynamic; ValueError where even the number of axes is not known."""
    if value.shape is None:
        raise ValueError(
            f"{value.name} has no known shape; a body is made for the sizes of its node's inputs."
        )
    return [size if isinstance(size, int) else None for size in value.shape]
