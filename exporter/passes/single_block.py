"""A `BlockLinearAttention` over one block is causal softmax attention: there is no earlier block to add."""

from __future__ import annotations

import onnx_ir as ir

from temport.custom_ops.domain import DOMAIN
from temport.exporter.graph.edit import stand_in


def is_single_block(node: ir.Node) -> bool:
    """Whether the node's rows, a fixed number, all lie in its first block."""
    if node.domain != DOMAIN or node.op_type != "BlockLinearAttention":
        return False
    queries = node.inputs[0]
    length = queries.shape[1] if queries is not None and queries.shape is not None else None
    return isinstance(length, int) and length <= node.attributes["block_size"].as_int()


def as_softmax_attention(graph: ir.Graph, node: ir.Node) -> ir.Node:
    """Put the `OnlineSoftmaxAttention` node that gives the same numbers in its place, and return it."""
    heads = node.attributes["num_heads"].as_int()
    attributes = {
        "num_heads": heads,
        "kv_num_heads": heads,
        "causal": 1,
        "window": 0,
        "query_offset": -1,
        "scale": node.attributes["scale"].as_float(),
    }
    return stand_in(graph, node, "OnlineSoftmaxAttention", node.inputs, attributes)
