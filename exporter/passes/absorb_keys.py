"""Attention of one head reads the keys' source instead of projected keys.

With Q = X Wq + bq and K = Z Wk + bk the scores of one head regroup:

    s Q K^T  =  s (X (Wq Wk^T) + bq Wk^T) Z^T  +  s Q bk^T

The last term is the same for every key of a query and drops out of the softmax, so the product of two weights
takes the queries' place and no key is projected. More heads would need one such product each, as wide as the
source; `absorb_projections` does that where there is only one query.

A step model keeps its keys, since a saved state must keep its meaning: what reaches its attention is the state with
the new key behind it, and that is no dense layer.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from custom_ops import MaskRule
from custom_ops.online_softmax_attention.attributes import OnlineSoftmaxAttributes
from exporter.passes.initializers import initializer
from exporter.passes.projection import Projection, insert, projection_behind, through
from exporter.passes.unpack_qkv import is_packed, unpack_qkv


def absorb_keys(model: ir.Model) -> bool:
    """Rewrite in place; False where nothing was found. Run it before bodies are attached."""
    found = [node for node in model.graph if _is_attention(node) and _absorb(model.graph, node)]
    if found:
        common.RemoveUnusedNodesPass()(model)
    return bool(found)


def _is_attention(node: ir.Node) -> bool:
    return node.domain == "temport" and node.op_type == "OnlineSoftmaxAttention"


def _absorb(graph: ir.Graph, node: ir.Node) -> bool:
    given = OnlineSoftmaxAttributes.parse({name: a.value for name, a in node.attributes.items()})
    layers = _packed_layers(node) if is_packed(node) else _layers(node)
    if given.num_heads != 1 or layers is None or not _pays(node, given.rule, *layers):
        return False
    queries, keys = layers
    if is_packed(node):
        unpack_qkv(graph, node)
    q = node.inputs[0]
    assert q is not None and q.shape is not None
    both = through(queries, Projection(keys.data, keys.weight.T, None))
    source, width = keys.weight.shape
    name, shape = f"{node.outputs[0].name}_query", [*q.shape[:2], source]
    weight = initializer(graph, f"{name}_weight", both.weight)
    result = insert(graph, node, "MatMul", [both.data, weight], shape, name)
    if both.bias is not None:
        bias = initializer(graph, f"{name}_bias", both.bias)
        result = insert(graph, node, "Add", [result, bias], shape, f"{name}_biased")
    node.replace_input_with(0, result)
    node.replace_input_with(1, keys.data)
    # its default would follow the new width
    node.attributes["scale"] = ir.AttrFloat32("scale", given.scale_for(width))
    return True


def _packed_layers(node: ir.Node) -> tuple[Projection, Projection] | None:
    """The dense layers of queries and keys inside the one that makes packed QKV for this node alone."""
    packed = _own_layer(node.inputs[0])
    if packed is None:
        return None
    width = packed.weight.shape[1] // 3
    queries, keys = (
        Projection(packed.data, packed.weight[:, part], None if packed.bias is None else packed.bias[part])
        for part in (slice(0, width), slice(width, 2 * width))
    )
    return queries, keys


def _layers(node: ir.Node) -> tuple[Projection, Projection] | None:
    """The dense layers that make queries and keys for this node alone."""
    queries, keys = _own_layer(node.inputs[0]), _own_layer(node.inputs[1])
    return None if queries is None or keys is None else (queries, keys)


def _own_layer(value: ir.Value | None) -> Projection | None:
    """The dense layer behind a value that one node uses; one that others need is computed in any case."""
    if value is None or len(value.uses()) != 1 or value.is_graph_output():
        return None
    return projection_behind(value)


def _pays(node: ir.Node, rule: MaskRule, queries: Projection, keys: Projection) -> bool:
    """Whether wider queries and scores cost less than the projection of every key."""
    q, k = node.inputs[0], node.inputs[0] if is_packed(node) else node.inputs[1]
    source, width = keys.weight.shape
    if source <= width:
        return True  # nothing gets wider, at any length
    assert q is not None and k is not None
    if q.shape is None or k.shape is None:
        return False
    T, S = q.shape[1], k.shape[1]
    if not isinstance(T, int) or not isinstance(S, int):
        return False
    pairs = sum(hi - lo for lo, hi in (rule.key_range(t, t + 1, T, S) for t in range(T)))
    wider = source - width
    return wider * (T * queries.weight.shape[0] + pairs) < S * source * width
