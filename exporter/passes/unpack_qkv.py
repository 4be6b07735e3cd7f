"""One QKV projection in front of an attention node becomes three, where queries and keys differ in number."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.exporter.graph.initializers import initializer
from temport.exporter.graph.projection import insert, projection_behind


def is_packed(node: ir.Node) -> bool:
    """Whether the node's Q carries packed QKV, with K and V left out."""
    return len(node.inputs) < 2 or node.inputs[1] is None


def unpack_qkv(graph: ir.Graph, node: ir.Node) -> None:
    """Give an `OnlineSoftmaxAttention` node separate Q, K and V, in place.

    A projection `x W` or `x W + b` that serves this node alone is split by columns; anything else is sliced.
    """
    packed = node.inputs[0]
    assert packed is not None and packed.shape is not None and isinstance(packed.shape[2], int)
    heads, kv_heads = node.attributes["num_heads"].as_int(), node.attributes["kv_num_heads"].as_int()
    head_dim = packed.shape[2] // (heads + 2 * kv_heads)
    edges = np.cumsum([0, heads * head_dim, kv_heads * head_dim, kv_heads * head_dim]).tolist()
    projection = projection_behind(packed) if len(packed.uses()) == 1 else None
    parts = []
    for part, start, stop in zip("qkv", edges[:-1], edges[1:], strict=True):
        name = f"{packed.name}_{part}"
        shape = [*packed.shape[:2], stop - start]
        if projection is None:
            bounds = [
                initializer(graph, f"{name}_{k}", np.array([n]))
                for k, n in (("from", start), ("to", stop), ("axis", 2))
            ]
            parts.append(insert(graph, node, "Slice", [packed, *bounds], shape, name))
            continue
        columns = initializer(graph, f"{name}_weight", projection.weight[:, start:stop])
        if projection.bias is None:
            parts.append(insert(graph, node, "MatMul", [projection.data, columns], shape, name))
            continue
        product = insert(graph, node, "MatMul", [projection.data, columns], shape, f"{name}_product")
        offset = initializer(graph, f"{name}_bias", projection.bias[start:stop])
        parts.append(insert(graph, node, "Add", [product, offset], shape, name))
    node.resize_inputs(max(3, len(node.inputs)))
    for index, value in enumerate(parts):
        node.replace_input_with(index, value)
