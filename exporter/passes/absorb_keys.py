"""Attention of one head reads the keys' source instead of projected keys.

With Q = X Wq + bq and K = Z Wk + bk the scores of one head regroup:

    s Q K^T  =  s (X (Wq Wk^T) + bq Wk^T) Z^T  +  s Q bk^T

The last term is the same for every key of a query and drops out of the softmax, so a layer with the product of two
weights makes the queries and no key is projected. The source must be as wide as the keys were: then nothing else
costs more, at any length, and keys keep their width: keys narrower than values would save scores elsewhere, but
TensorRT's fused kernel takes one width only and would get them padded. More heads would need one such product each;
`absorb_projections` does that where there is only one query.

A step model keeps its keys, since a saved state must keep its meaning: what reaches its attention is the state with
the new key behind it, and that is no dense layer.

Weights in fewer bits were multiplied before they were rounded (compress/absorbed_keys.py): their Wk is the identity.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph.attention import Attention
from temport.exporter.graph.edit import initializer, insert, named
from temport.exporter.graph.projection import Projection, is_identity, projection_behind, through
from temport.exporter.passes.unpack_qkv import unpack_qkv


def absorb_keys(model: ir.Model, new_weights: bool = True) -> bool:
    """Rewrite in place; False where nothing was found. Run it before bodies are attached.

    new_weights  False: only where the keys' weight is the identity, which makes no new one
    """
    graph = model.graph
    found = [
        node for node in graph if (x := Attention.of(node)) is not None and _absorb(graph, x, new_weights)
    ]
    if found:
        common.RemoveUnusedNodesPass()(model)
    return bool(found)


def queries_and_keys(attention: Attention) -> tuple[Projection, Projection] | None:
    """The dense layers that can become one; None where they cannot."""
    layers = _packed_layers(attention.q) if attention.packed else _layers(attention)
    if attention.heads != 1 or layers is None or attention.q.shape is None:
        return None
    source, width = layers[1].weight.shape
    return layers if source == width else None


def as_one(queries: Projection, keys: Projection) -> Projection:
    """The layer that makes queries for the keys' source."""
    return through(queries, Projection(keys.data, keys.weight.T, None))


def _absorb(graph: ir.Graph, attention: Attention, new_weights: bool) -> bool:
    node, q = attention.node, attention.q
    layers = queries_and_keys(attention)
    if layers is None or q.shape is None or not (new_weights or is_identity(layers[1].weight)):
        return False
    queries, keys = layers
    if attention.packed:
        unpack_qkv(graph, attention)
    both = as_one(queries, keys)
    name, shape = named(node.outputs[0], "query"), [*q.shape[:2], keys.weight.shape[1]]
    weight = initializer(graph, f"{name}/weight", both.weight)
    result = insert(graph, node, "MatMul", [both.data, weight], shape, name)
    if both.bias is not None:
        bias = initializer(graph, f"{name}/bias", both.bias)
        result = insert(graph, node, "Add", [result, bias], shape, f"{name}/biased")
    node.replace_input_with(0, result)
    node.replace_input_with(1, keys.data)
    return True


def _packed_layers(value: ir.Value) -> tuple[Projection, Projection] | None:
    """The dense layers of queries and keys inside the one that makes packed QKV for one node alone."""
    packed = _own_layer(value)
    if packed is None:
        return None
    width = packed.weight.shape[1] // 3
    queries, keys = (
        Projection(packed.data, packed.weight[:, part], None if packed.bias is None else packed.bias[part])
        for part in (slice(0, width), slice(width, 2 * width))
    )
    return queries, keys


def _layers(attention: Attention) -> tuple[Projection, Projection] | None:
    """The dense layers that make queries and keys for this node alone."""
    queries, keys = _own_layer(attention.q), _own_layer(attention.k)
    return None if queries is None or keys is None else (queries, keys)


def _own_layer(value: ir.Value | None) -> Projection | None:
    """The dense layer behind a value that one node uses; one that others need is computed in any case."""
    if value is None or len(value.uses()) != 1 or value.is_graph_output():
        return None
    return projection_behind(value)
