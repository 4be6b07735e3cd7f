"""`LayerNormalization` and `RMSNormalization`, with the `Add` before them, as `ResidualLayerNorm`.

A sum that somebody else reads too stays a node of its own.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.custom_ops.domain import DOMAIN
from temport.exporter.graph.dense_layer import has_shape, only_user
from temport.exporter.graph.edit import initializer, stand_in
from temport.exporter.graph.projection import is_bias
from temport.exporter.graph.standard_operator import is_standard

DEFAULT_EPSILON = 1e-5


def residual_layer_norm(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where nothing is replaced. Run it after `fused_dense`, which takes sums too."""
    found = [node for node in model.graph if _is_alone(node) or _normalises_the_last_axis(node)]
    for node in found:
        _fuse(model.graph, node)
    return bool(found)


def _is_alone(node: ir.Node) -> bool:
    """The op already, with no addend yet, behind a sum that it can take."""
    x = node.inputs[0] if node.inputs else None
    addition = None if x is None else x.producer()
    return (
        (node.domain, node.op_type) == (DOMAIN, "ResidualLayerNorm")
        and len(node.inputs) == 3
        and addition is not None
        and _is_residual(addition, node)
    )


def _normalises_the_last_axis(node: ir.Node) -> bool:
    """In float32, with constant weights, and for its first output alone."""
    if not is_standard(node, "LayerNormalization", "RMSNormalization") or any(
        value.uses() for value in node.outputs[1:]
    ):
        return False
    if any(value.is_graph_output() for value in node.outputs[1:]):
        return False
    x, scale, bias = [*node.inputs, None][:3]
    if x is None or x.shape is None or scale is None or scale.dtype != ir.DataType.FLOAT:
        return False
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    width = x.shape[-1]
    if axis not in (-1, len(x.shape) - 1) or not isinstance(width, int):
        return False
    return is_bias(scale, width) and (bias is None or is_bias(bias, width))


def _fuse(graph: ir.Graph, node: ir.Node) -> None:
    x, scale, bias = [*node.inputs, None][:3]
    assert x is not None
    if bias is None:
        assert scale is not None and scale.const_value is not None
        width = scale.const_value.size
        bias = initializer(graph, f"no_bias/of_{width}", np.zeros(width, np.float32))
    centred = "centred" not in node.attributes or node.attributes["centred"].as_int() == 1
    attributes = {
        "epsilon": node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else DEFAULT_EPSILON,
        "centred": int(centred and node.op_type != "RMSNormalization"),
    }
    addition = x.producer()
    if addition is None or not _is_residual(addition, node):
        stand_in(graph, node, "ResidualLayerNorm", [x, scale, bias], attributes)
        return
    first, second = addition.inputs
    stand_in(graph, node, "ResidualLayerNorm", [first, scale, bias, second], attributes)
    graph.remove(addition, safe=True)


def _is_residual(addition: ir.Node, node: ir.Node) -> bool:
    """Whether nobody but `node` takes this sum, and its addends have its very shape."""
    total = addition.outputs[0]
    if not is_standard(addition, "Add") or only_user(total) is not node or total.shape is None:
        return False
    return all(value is not None and has_shape(value, total.shape) for value in addition.inputs)
