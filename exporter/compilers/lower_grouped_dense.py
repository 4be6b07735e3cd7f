"""Write a grouped `temport::FusedDense` the way TensorRT takes it best: one batched product between two reshapes.

Its function body says the same for any number of rows, with no size in it, by splits and concatenations, each of
which is a layer of the engine. Here the sizes are known, and a reshape is no layer.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.custom_ops.domain import DOMAIN
from temport.custom_ops.fused_dense.schema import OP_NAME, SCHEMA
from temport.custom_ops.node import inputs
from temport.custom_ops.stored_weight import stored
from temport.exporter.compilers.graph_edit import GraphEdit

_TAKEN = {"X", "W", "B", "W_scale", "X_scale"}
"""Inputs that the product is made of; a node with others keeps its body."""


def lower_grouped_dense(model: ir.Model) -> None:
    """Replace, in place, the nodes of several groups and no epilogue; the others are left to their bodies."""
    for node in list(model.graph):
        if node.domain == DOMAIN and node.op_type == OP_NAME and _is_grouped_product(node):
            _lower(model.graph, node)


def _is_grouped_product(node: ir.Node) -> bool:
    """Whether it is X W + B of several groups and nothing else, with sizes that are known."""
    weight = node.inputs[1]
    known = weight is not None and weight.shape is not None and weight.shape.is_static()
    plain = set(inputs(node, SCHEMA)) <= _TAKEN and node.attributes["activation"].as_string() == "none"
    return known and plain and node.attributes["groups"].as_int() > 1


def _lower(graph: ir.Graph, node: ir.Node) -> None:
    """[rows, G*K] -> [G, rows, K] x [G, K, N] -> [rows, G*N]; size 0 in a reshape is the input's own."""
    given = inputs(node, SCHEMA)
    x, weight, bias, scale = given["X"], given["W"], given["B"], given.get("W_scale")
    assert weight.shape is not None
    groups, depth, width = weight.shape.numpy()
    edit = GraphEdit(graph, node)
    x = _rounded(edit, x, given.get("X_scale"))
    split = edit.op("Reshape", [x, edit.constant(np.array([0, groups, depth]), "by_group")])
    product = edit.op("MatMul", [_swapped(edit, split), _numbers(edit, weight, scale, x)])
    joined = edit.op(
        "Reshape", [_swapped(edit, product), edit.constant(np.array([0, groups * width]), "side_by_side")]
    )
    edit.replace(node, joined if _is_zero(bias) else edit.op("Add", [joined, bias]))


def _rounded(edit: GraphEdit, x: ir.Value, scale: ir.Value | None) -> ir.Value:
    """What the product takes, of an input that is rounded to bytes."""
    if scale is None:
        return x
    integers = edit.op("QuantizeLinear", [x, scale], {"output_dtype": ir.DataType.INT8})
    return edit.op("DequantizeLinear", [integers, scale])


def _numbers(edit: GraphEdit, weight: ir.Value, scale: ir.Value | None, like: ir.Value) -> ir.Value:
    """The weight as the product takes it, of one that is stored in fewer bits."""
    at = stored(weight, scale, like, outputs=2)
    if at is None:
        return weight
    if at.axis is None:
        return edit.op("Cast", [weight], {"to": like.dtype})
    return edit.op("DequantizeLinear", [weight, scale], {"axis": at.axis, "block_size": at.block})


def _swapped(edit: GraphEdit, x: ir.Value) -> ir.Value:
    """`[rows, G, K]` as `[G, rows, K]` and back: without it TensorRT repeats the weights for every row."""
    return edit.op("Transpose", [x], {"perm": [1, 0, 2]})


def _is_zero(bias: ir.Value | None) -> bool:
    """A layer without a bias has one of zeros, whose addition would be a layer of the engine."""
    return bias is not None and bias.const_value is not None and not bias.const_value.numpy().any()
