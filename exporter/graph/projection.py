"""A dense layer as the tracer writes it: `MatMul` with a constant weight, then `Add` of a constant bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.graph.standard_operator import is_standard


@dataclass(frozen=True)
class Projection:
    """`data @ weight + bias`: weight `[C, N]`, bias `[N]` or None."""

    data: ir.Value
    weight: npt.NDArray[Any]
    bias: npt.NDArray[Any] | None


def projection_behind(value: ir.Value) -> Projection | None:
    """The dense layer that makes `value`, whoever else uses it."""
    node = value.producer()
    if node is None or not is_standard(node):
        return None
    if node.op_type == "MatMul":
        return _product(node)
    if node.op_type != "Add":
        return None
    for product, bias in (node.inputs, reversed(node.inputs)):
        matmul = product.producer() if product is not None else None
        constant = _constant(bias)
        layer = _product(matmul) if matmul is not None and matmul.op_type == "MatMul" else None
        if layer is not None and constant is not None and constant.shape == layer.weight.shape[1:]:
            return Projection(layer.data, layer.weight, constant)
    return None


def through(inner: Projection, outer: Projection) -> Projection:
    """Two dense layers as one, multiplied in float64 and rounded once to the outer layer's dtype."""
    dtype = outer.weight.dtype
    wide = outer.weight.astype(np.float64)
    bias = None
    if inner.bias is not None:
        bias = inner.bias.astype(np.float64) @ wide
    if outer.bias is not None:
        bias = outer.bias if bias is None else bias + outer.bias
    weight = inner.weight.astype(np.float64) @ wide
    return Projection(inner.data, weight.astype(dtype), None if bias is None else bias.astype(dtype))


def insert(
    graph: ir.Graph,
    before: ir.Node,
    op: str,
    inputs: Sequence[ir.Value],
    shape: Sequence[int | ir.SymbolicDim],
    name: str,
) -> ir.Value:
    """A new standard node with one output of this shape, in front of `before`; the dtype is the first input's."""
    output = ir.Value(name=name, type=inputs[0].type, shape=ir.Shape(shape))
    graph.insert_before(before, ir.node(op, list(inputs), outputs=[output], name=name))
    return output


def stand_in(
    graph: ir.Graph, node: ir.Node, op: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]
) -> ir.Node:
    """Put a `temport` node that gives the same only output in the node's place, under its name, and return it."""
    old = node.outputs[0]
    output = ir.Value(name=old.name, type=old.type, shape=old.shape)
    new = ir.node(op, list(inputs), attributes, domain="temport", outputs=[output], name=node.name)
    graph.insert_before(node, new)
    replace(graph, node, output)
    return new


def replace(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Let `value` stand for the node's only output, under its name where that is an output of the graph."""
    old = node.outputs[0]
    if old.is_graph_output():
        old.name, value.name = f"{old.name}_before", old.name
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _product(matmul: ir.Node) -> Projection | None:
    data, weight = matmul.inputs[0], _constant(matmul.inputs[1])
    if data is None or weight is None or weight.ndim != 2:
        return None
    return Projection(data, weight, None)


def _constant(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    return value.const_value.numpy() if value is not None and value.const_value is not None else None
