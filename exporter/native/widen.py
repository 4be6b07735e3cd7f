"""Tensors of half precision held in float32: what the kernels of an engine compute in.

Weights keep the values that they were rounded to. What a file rounds to half precision on the way is not rounded here:
the numbers of the engine are at least as exact as the file's, and what overflows there need not overflow here.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.custom_ops.domain import DOMAIN

_HALVES = {ir.DataType.FLOAT16: "float16", ir.DataType.BFLOAT16: "bfloat16"}
_FLOAT = ir.TensorType(ir.DataType.FLOAT)


def widen(graph: ir.Graph) -> list[str]:
    """Makes every half type inside `graph` float32, in place; inputs and outputs of half types are cast. Says so."""
    found = {value.dtype for value in _values(graph) if value.dtype in _HALVES}
    for value in list(graph.inputs):
        if value.dtype in _HALVES:
            _cast_input(graph, value)
    for index, value in enumerate(graph.outputs):
        if value.dtype in _HALVES:
            graph.outputs[index] = _cast_output(graph, value)
    ends = {*graph.inputs, *graph.outputs}
    for value in _values(graph):
        if value.dtype in _HALVES and value not in ends:
            if value.const_value is not None:
                value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
            value.type = _FLOAT
    for node in list(graph):
        if node.op_type in ("Cast", "CastLike") and _same(node):
            node.op_type = "Identity"
            node.attributes.clear()
            node.resize_inputs(1)
    return [
        f"tensors of {_HALVES[kind]} are held in float32, weights too: results are at least as exact as the file's"
        for kind in _HALVES
        if kind in found
    ]


def _values(graph: ir.Graph) -> list[ir.Value]:
    """All but weights that kernels read as they are."""
    return [
        *graph.inputs,
        *(value for value in graph.initializers.values() if not _is_stored(value)),
        *(value for node in graph for value in node.outputs),
    ]


def _is_stored(value: ir.Value) -> bool:
    """Whether only layers of ours that compute in float32 take the value."""
    return bool(value.uses()) and all(
        node.domain == DOMAIN
        and node.op_type in ("FusedDense", "FusedLSTM", "FusedGRU")
        and index > 0
        and node.inputs[0] is not None
        and node.inputs[0].dtype == ir.DataType.FLOAT
        for node, index in value.uses()
    )


def _same(node: ir.Node) -> bool:
    source = node.inputs[0]
    return source is not None and source.dtype == node.outputs[0].dtype


def _cast_input(graph: ir.Graph, value: ir.Value) -> None:
    node = ir.node("Cast", [value], {"to": ir.DataType.FLOAT.value})
    inside = node.outputs[0]
    inside.name, inside.type, inside.shape = f"{value.name}/wide", _FLOAT, value.shape
    for user, index in list(value.uses()):
        if user is not node:
            user.replace_input_with(index, inside)
    graph.insert_before(graph[0], node)


def _cast_output(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """The output, which takes the name of `value`; that one is wide from here on."""
    assert value.dtype is not None
    node = ir.node("Cast", [value], {"to": value.dtype.value})
    outside = node.outputs[0]
    outside.name, outside.type, outside.shape = value.name, value.type, value.shape
    value.name = f"{value.name}/wide"
    graph.append(node)
    return outside
