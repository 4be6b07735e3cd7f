"""Dense layers with their epilogue as `FusedDense`: bias, activation, a factor and an addend of the very same shape.

Each of those is otherwise one more pass over the layer's result, and for a few rows one more node to schedule. A
product that is both the factor or addend of another layer and a layer of its own stays one: the other takes its result.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph import operators
from temport.exporter.graph.dense_layer import DenseLayer, dense_layer, has_shape, only_user
from temport.exporter.graph.edit import initializer, stand_in
from temport.exporter.graph.projection import is_bias
from temport.exporter.graph.standard_operator import is_standard


def fused_dense(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where it has no dense layer. Run it after `flatten_rows` and `join_reshapes`."""
    graph = model.graph
    found = False
    for node in list(graph):  # one after the other: the input of a layer may be the result of the one before
        layer = dense_layer(graph, node)
        if layer is not None:
            _take_epilogue(layer)
            _fuse(graph, layer)
            found = True
    if found:
        common.RemoveUnusedNodesPass()(model)
    return found


def _take_epilogue(layer: DenseLayer) -> None:
    """Add to the layer every node after it that the op computes too, in the order in which the op does."""
    if layer.bias is None and (found := _with_other(layer, "Add")) is not None:
        node, bias = found
        if is_bias(bias, layer.width):
            layer.nodes.append(node)
            layer.bias = bias
    _take_activation(layer)
    if (found := _with_other(layer, "Mul")) is not None and has_shape(found[1], layer.shape):
        layer.nodes.append(found[0])
        layer.factor = found[1]
    if (found := _with_other(layer, "Add")) is not None and has_shape(found[1], layer.shape):
        layer.nodes.append(found[0])
        layer.addend = found[1]


def _take_activation(layer: DenseLayer) -> None:
    node = only_user(layer.result)
    if node is None:
        gated = _silu(layer.result)
        if gated is not None:
            layer.nodes += gated
            layer.activation = "silu"
        return
    activation = operators.of(node).activation
    if activation is not None and _approximate(node) == "none":
        layer.nodes.append(node)
        layer.activation = activation


def _approximate(node: ir.Node) -> str:
    return node.attributes["approximate"].as_string() if "approximate" in node.attributes else "none"


def _silu(x: ir.Value) -> list[ir.Node] | None:
    """The two nodes of x * sigmoid(x), where they alone take x, in the graph that makes it."""
    users, producer = [use.node for use in x.uses()], x.producer()
    gate = next((node for node in users if is_standard(node, "Sigmoid")), None)
    if len(users) != 2 or x.is_graph_output() or gate is None or producer is None:
        return None
    if gate.graph is not producer.graph:
        return None
    product = only_user(gate.outputs[0])
    return [gate, product] if product in users and is_standard(product, "Mul") else None


def _with_other(layer: DenseLayer, operator: str) -> tuple[ir.Node, ir.Value] | None:
    """The node that alone takes the layer's result, if it is this operator, and its other operand."""
    node = only_user(layer.result)
    if node is None or not is_standard(node, operator):
        return None
    other = next((value for value in node.inputs if value is not layer.result), None)
    return None if other is None else (node, other)


def _fuse(graph: ir.Graph, layer: DenseLayer) -> None:
    """Put one node in the place of the last one, where all its inputs exist."""
    *before, last = layer.nodes
    bias = layer.bias
    if bias is None:
        bias = initializer(graph, f"no_bias/of_{layer.width}", np.zeros(layer.width, np.float32))
    inputs = [layer.x, layer.weight, bias, layer.factor, layer.addend]
    while inputs[-1] is None:
        inputs.pop()
    attributes = {"activation": layer.activation, "groups": layer.groups}
    fused = stand_in(graph, last, "FusedDense", inputs, attributes)
    fused.outputs[0].shape = layer.shape
    graph.remove(before, safe=True)
