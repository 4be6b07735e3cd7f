"""One QKV projection in front of an attention node becomes three, where queries and keys differ in number."""

from __future__ import annotations

from itertools import pairwise

import onnx_ir as ir

from temport.exporter.graph.attention import Attention
from temport.exporter.graph.edit import cut, initializer, insert, named
from temport.exporter.graph.projection import projection_behind


def unpack_qkv(graph: ir.Graph, attention: Attention) -> None:
    """Give a packed attention node separate Q, K and V, in place.

    A projection `x W` or `x W + b` that serves this node alone is split by columns; anything else is sliced.
    """
    node, packed, edges = attention.node, attention.q, attention.edges
    assert packed.shape is not None
    alone = len(packed.uses()) == 1 and not packed.is_graph_output()
    projection = projection_behind(packed) if alone else None
    parts = []
    for start, stop in pairwise(edges):
        if projection is None:
            parts.append(cut(graph, node, packed, 2, start, stop))
            continue
        name = named(packed, "columns", start=start, stop=stop)
        shape = [*packed.shape[:2], stop - start]
        columns = initializer(graph, f"{name}/weight", projection.weight[:, start:stop])
        part = insert(graph, node, "MatMul", [projection.data, columns], shape, f"{name}/product")
        if projection.bias is not None:
            offset = initializer(graph, f"{name}/bias", projection.bias[start:stop])
            part = insert(graph, node, "Add", [part, offset], shape, name)
        parts.append(part)
    node.resize_inputs(max(3, len(node.inputs)))
    for index, value in enumerate(parts):
        node.replace_input_with(index, value)
