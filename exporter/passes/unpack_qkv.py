"""One QKV projection in front of an attention node becomes three, where queries and keys differ in number."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.passes.initializers import initializer


def is_packed(node: ir.Node) -> bool:
    """Whether the node's Q carries packed QKV, with K and V left out."""
    return len(node.inputs) < 2 or node.inputs[1] is None


def unpack_qkv(graph: ir.Graph, node: ir.Node) -> None:
    """Give an `OnlineSoftmaxAttention` node separate Q, K and V, in place.

    A projection `x W + b` that serves this node alone is split by columns; anything else is sliced.
    """
    packed = node.inputs[0]
    assert packed is not None and packed.shape is not None and isinstance(packed.shape[2], int)
    heads, kv_heads = node.attributes["num_heads"].as_int(), node.attributes["kv_num_heads"].as_int()
    head_dim = packed.shape[2] // (heads + 2 * kv_heads)
    edges = np.cumsum([0, heads * head_dim, kv_heads * head_dim, kv_heads * head_dim]).tolist()
    projection = _projection_behind(packed)
    parts = []
    for part, start, stop in zip("qkv", edges[:-1], edges[1:], strict=True):
        name = f"{packed.name}_{part}"
        shape = ir.Shape([*packed.shape[:2], stop - start])
        if projection is None:
            bounds = [
                initializer(graph, f"{name}_{k}", np.array([n]))
                for k, n in (("from", start), ("to", stop), ("axis", 2))
            ]
            parts.append(_insert(graph, node, "Slice", [packed, *bounds], shape, name))
            continue
        data, weight, bias = projection
        columns = initializer(graph, f"{name}_weight", weight[:, start:stop])
        product = _insert(graph, node, "MatMul", [data, columns], shape, f"{name}_product")
        offset = initializer(graph, f"{name}_bias", bias[start:stop])
        parts.append(_insert(graph, node, "Add", [product, offset], shape, name))
    node.resize_inputs(max(3, len(node.inputs)))
    for index, value in enumerate(parts):
        node.replace_input_with(index, value)


def _projection_behind(packed: ir.Value) -> tuple[ir.Value, np.ndarray, np.ndarray] | None:
    """data, weight `[C, N]` and bias `[N]` where `packed` is `Add(MatMul(data, weight), bias)` for one use."""
    add = packed.producer()
    if add is None or add.op_type != "Add" or len(packed.uses()) != 1:
        return None
    for product, bias in (add.inputs, reversed(add.inputs)):
        matmul = product.producer() if product is not None else None
        if matmul is None or matmul.op_type != "MatMul" or bias is None or bias.const_value is None:
            continue
        data, weight = matmul.inputs
        if data is not None and weight is not None and weight.const_value is not None:
            return data, weight.const_value.numpy(), bias.const_value.numpy()
    return None


def _insert(
    graph: ir.Graph, before: ir.Node, op: str, inputs: list[ir.Value], shape: ir.Shape, name: str
) -> ir.Value:
    output = ir.Value(name=name, type=inputs[0].type, shape=shape)
    graph.insert_before(before, ir.node(op, inputs, outputs=[output], name=name))
    return output
