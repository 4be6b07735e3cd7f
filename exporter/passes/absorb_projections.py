"""Attention of one query reads the keys' source instead of projected keys and values.

With K = X Wk + bk and V = X Wv + bv the definition regroups, head by head:

    softmax(s q K^T) V  =  softmax(s (q Wk^T) X^T) X Wv + bv

q.bk is the same for every key and drops out of the softmax; its weights sum to 1, so bv comes out whole. For S
keys of C features that replaces the products `[S, C] x [C, D]` of every key and value by one row each, where only
one position is asked for: the absorption of DeepSeek-V2's latent attention (arXiv 2405.04434, section 2.1.2),
here with the layer's own input as the latent.

Where X is itself a dense layer that nothing else needs whole, its weights are multiplied into Wk and Wv first; with one
head the layer that makes q goes into Wk^T likewise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph.attention import Attention
from temport.exporter.graph.dense_layer import only_user
from temport.exporter.graph.edit import initializer, insert, named, replace
from temport.exporter.graph.projection import Projection, is_identity, projection_behind, through


def absorb_projections(model: ir.Model, new_weights: bool = True) -> bool:
    """Rewrite in place; False where nothing was found. Run it after pruning, which makes single queries.

    new_weights  False: weights are turned and cut, and none but the identity is multiplied into another
    """
    graph = model.graph
    found = [
        n
        for n in graph
        if (x := Attention.of(n)) is not None and _is_single_query(x) and _absorb(graph, x, new_weights)
    ]
    if found:
        common.RemoveUnusedNodesPass()(model)
    return bool(found)


def _is_single_query(attention: Attention) -> bool:
    """One query per sequence with K and V of its own, and no way that it sees no key (its bias would be 0)."""
    q, k, v = attention.q, attention.k, attention.v
    if attention.key_mask is not None or attention.scale is None or k is None or v is None:
        return False
    if any(x.shape is None or len(x.shape) != 3 for x in (q, k, v)):
        return False
    keys = attention.key_length
    return attention.query_length == 1 and keys is not None and not attention.rule.has_empty_rows(1, keys)


def _absorb(graph: ir.Graph, attention: Attention, new_weights: bool) -> bool:
    node, q, k, v = attention.node, attention.q, attention.k, attention.v
    assert k is not None and v is not None and attention.key_length is not None
    keys, values = (projection_behind(x) if len(x.uses()) == 1 else None for x in (k, v))
    if keys is None or values is None:
        return False
    inner = _layer_for_these_alone(graph, keys.data, values.data) if new_weights else None
    if inner is not None:
        source = keys.data
        keys, values = through(inner, keys), through(inner, values)
    heads, groups = attention.heads, attention.kv_heads
    if not _pays(heads, attention.key_length, keys, values):
        return False
    if inner is not None:
        for use in source.uses():
            if use.node.op_type == "Slice":
                _slice_first(graph, use.node, inner)
    to_source = _by_head(keys.weight, heads, groups).transpose(0, 2, 1)  # [H, D, C]
    from_source = _by_head(values.weight, heads, groups)  # [H, C, Dv]
    output = node.outputs[0]
    query = _query if new_weights or all(map(is_identity, to_source)) else _per_head
    rows = query(graph, node, q, to_source, named(output, "query"))
    read = _attend(graph, node, rows, keys.data, values.data)
    result = _per_head(graph, node, read, from_source, named(output, "values"))
    if values.bias is not None:
        bias = np.repeat(values.bias.reshape(groups, -1), heads // groups, axis=0).ravel()
        constant = initializer(graph, named(output, "values/bias"), bias)
        result = insert(graph, node, "Add", [result, constant], _dims(result), named(output, "biased"))
    replace(graph, node, result)
    return True


def _layer_for_these_alone(graph: ir.Graph, source: ir.Value, other: ir.Value) -> Projection | None:
    """The dense layer that makes the common source of K and V, where all its other uses take later rows of it."""
    if source is not other or source.is_graph_output():
        return None
    others = [use.node for use in source.uses() if use.node.op_type != "MatMul"]
    if len(source.uses()) - len(others) != 2 or not all(_takes_rows(graph, node) for node in others):
        return None
    return projection_behind(source)


def _takes_rows(graph: ir.Graph, node: ir.Node) -> bool:
    """Whether the node slices along the sequence axis only, and stands in this graph and none inside it."""
    if node.graph is not graph:
        return False
    axes = node.inputs[3] if node.op_type == "Slice" and len(node.inputs) == 4 else None
    return axes is not None and axes.const_value is not None and axes.const_value.numpy().tolist() == [1]


def _slice_first(graph: ir.Graph, cut: ir.Node, layer: Projection) -> None:
    """Rows of a dense layer's output, from the same rows of its input."""
    output = cut.outputs[0]
    batch, count, _ = _dims(output)
    width, wide = layer.weight.shape
    bounds = [bound for bound in cut.inputs[1:] if bound is not None]
    rows = insert(
        graph, cut, "Slice", [layer.data, *bounds], [batch, count, width], named(output, "source_rows")
    )
    weight = initializer(graph, named(output, "weight"), layer.weight)
    result = insert(graph, cut, "MatMul", [rows, weight], [batch, count, wide], named(output, "product"))
    if layer.bias is not None:
        bias = initializer(graph, named(output, "bias"), layer.bias)
        result = insert(graph, cut, "Add", [result, bias], [batch, count, wide], named(output, "sum"))
    replace(graph, cut, result)


def _pays(heads: int, length: int, keys: Projection, values: Projection) -> bool:
    """Whether the wider attention and the two row products cost less than projecting every key and value."""
    (c_k, n_k), (c_v, n_v) = keys.weight.shape, values.weight.shape
    saved = length * (c_k * n_k + c_v * n_v)
    return heads * (c_k + c_v) * length + c_k * n_k + c_v * n_v < saved


def _by_head(weight: npt.NDArray[Any], heads: int, groups: int) -> npt.NDArray[Any]:
    """`[C, groups*D]` -> `[heads, C, D]`, where query head h reads group h // (heads/groups)."""
    parts = weight.reshape(weight.shape[0], groups, -1).transpose(1, 0, 2)
    return np.repeat(parts, heads // groups, axis=0)


def _query(graph: ir.Graph, before: ir.Node, q: ir.Value, weights: npt.NDArray[Any], name: str) -> ir.Value:
    """q by head times weights, as one layer with the one that makes q where that is no more work."""
    layer = projection_behind(q) if only_user(q) is before and len(weights) == 1 else None
    if layer is None:
        return _per_head(graph, before, q, weights, name)
    (inner, between), outer = layer.weight.shape, weights.shape[2]
    if inner * outer > inner * between + between * outer:
        return _per_head(graph, before, q, weights, name)
    both = through(layer, Projection(q, weights[0], None))
    result = _per_head(graph, before, both.data, both.weight[None], name)
    if both.bias is None:
        return result
    bias = initializer(graph, f"{name}/bias", both.bias)
    return insert(graph, before, "Add", [result, bias], _dims(result), f"{name}/biased")


def _per_head(
    graph: ir.Graph, before: ir.Node, x: ir.Value, weights: npt.NDArray[Any], name: str
) -> ir.Value:
    """x `[B, 1, H*I]` times weights `[H, I, O]` -> `[B, 1, H*O]`; with one row there is nothing to transpose."""
    H, inner, outer = weights.shape
    batch = _dims(x)[0]
    if H == 1:
        constant = initializer(graph, f"{name}/weight", weights[0])
        return insert(graph, before, "MatMul", [x, constant], [batch, 1, outer], name)
    constant = initializer(graph, f"{name}/weight", weights)
    split = initializer(graph, f"{name}/split", np.array([-1, H, 1, inner]))
    join = initializer(graph, f"{name}/join", np.array([-1, 1, H * outer]))
    rows = insert(graph, before, "Reshape", [x, split], [batch, H, 1, inner], f"{name}/apart")
    product = insert(graph, before, "MatMul", [rows, constant], [batch, H, 1, outer], f"{name}/heads")
    return insert(graph, before, "Reshape", [product, join], [batch, 1, H * outer], name)


def _attend(graph: ir.Graph, node: ir.Node, q: ir.Value, k: ir.Value, v: ir.Value) -> ir.Value:
    """The node's attention over one key head that all query heads share."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    heads = attributes["num_heads"]
    shape = ir.Shape([_dims(q)[0], 1, heads * _dims(v)[2]])
    output = ir.Value(name=named(node.outputs[0], "source"), type=q.type, shape=shape)
    attention = ir.node(
        node.op_type,
        [q, k, v],
        {**attributes, "kv_num_heads": 1},
        domain=node.domain,
        outputs=[output],
        name=node.name,
    )
    graph.insert_before(node, attention)
    return output


def _dims(value: ir.Value) -> list[int | ir.SymbolicDim]:
    assert value.shape is not None
    return list(value.shape)
