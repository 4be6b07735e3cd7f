"""Dense layers as the passes before leave them: `Gemm`, `MatMul` of any axes, and one `MatMul` over several heads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from temport.exporter.graph.edit import initializer, insert
from temport.exporter.graph.projection import product_of
from temport.exporter.graph.standard_operator import is_standard


@dataclass
class DenseLayer:
    """activation(X W + B) * M + R while its parts are collected, in the terms of the op `FusedDense`.

    nodes     the nodes that it stands for, in graph order: the last one gives the result, and the results of
              the others have no use outside
    width     G*N, the columns of the result
    """

    nodes: list[ir.Node]
    x: ir.Value
    weight: ir.Value
    bias: ir.Value | None
    groups: int
    width: int
    activation: str = "none"
    factor: ir.Value | None = None
    addend: ir.Value | None = None

    @property
    def result(self) -> ir.Value:
        return self.nodes[-1].outputs[0]

    @property
    def shape(self) -> ir.Shape:
        """`[..., width]`, with the axes of x before the last; `[rows, width]` of several groups"""
        assert self.x.shape is not None, "a layer is only found where it is known"
        return ir.Shape([*self.x.shape[:-1], self.width])


def dense_layer(graph: ir.Graph, node: ir.Node) -> DenseLayer | None:
    """The layer whose product is this node: float32, with a constant weight, and a bias that is constant or absent."""
    if not is_standard(node, "Gemm", "MatMul"):
        return None
    x, weight, bias = [*node.inputs, None][:3]
    if x is None or x.shape is None or x.const_value is not None or weight is None:
        return None
    if weight.const_value is None or weight.dtype != ir.DataType.FLOAT:
        return None
    width = product_of(node)
    if width is not None and len(x.shape) >= 1:
        return DenseLayer([node], x, weight, bias, 1, width)
    ranks = len(x.shape), len(weight.const_value.shape)
    return _by_head(graph, node, x, weight) if ranks == (4, 3) else None


def only_user(value: ir.Value) -> ir.Node | None:
    """The node that alone takes `value`, once, in the graph that makes it."""
    uses, producer = list(value.uses()), value.producer()
    if len(uses) != 1 or value.is_graph_output() or producer is None:
        return None
    user = uses[0].node
    return user if user.graph is producer.graph else None


def has_shape(value: ir.Value, shape: ir.Shape) -> bool:
    """Whether these are the sizes of `value` beyond doubt; a size without a number or a name equals none."""
    known = all(isinstance(size, int) or size.value is not None for size in shape)
    return known and value.shape is not None and list(value.shape) == list(shape)


def _by_head(graph: ir.Graph, node: ir.Node, x: ir.Value, weight: ir.Value) -> DenseLayer | None:
    """`[rows, G, 1, K] x [G, K, N]`, reshaped before and after, as `absorb_projections` writes it."""
    assert x.shape is not None and weight.const_value is not None
    groups, inner, outer = weight.const_value.numpy().shape
    after = only_user(node.outputs[0])
    if groups == 1 or list(x.shape[1:]) != [groups, 1, inner]:
        return None
    if after is None or not is_standard(after, "Reshape") or not _is_free_of_copies(after.inputs[1]):
        return None
    before, rows = x.producer(), x
    if before is not None and is_standard(before, "Reshape") and before.inputs[0] is not None:
        rows = before.inputs[0]
    if rows.shape is None or len(rows.shape) != 2 or rows.shape[1] != groups * inner:
        flat = initializer(graph, f"rows/of_{groups * inner}", np.array([-1, groups * inner]))
        rows = insert(
            graph,
            node,
            "Reshape",
            [rows, flat],
            [x.shape[0], groups * inner],
            f"{node.outputs[0].name}/side_by_side",
        )
    joined = after.outputs[0].shape
    is_flat = joined is not None and len(joined) == 2 and joined[1] == groups * outer
    nodes = [node, after] if is_flat else [node]
    return DenseLayer(nodes, rows, weight, None, groups, groups * outer)


def _is_free_of_copies(shape: ir.Value | None) -> bool:
    """Whether a reshape to this shape does not look at the axes it finds, which are others after the rewrite."""
    return shape is not None and shape.const_value is not None and 0 not in shape.const_value.numpy()
