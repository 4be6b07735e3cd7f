"""Useful floating-point operations of a graph: multiplications and additions of matrix products.

Elementwise operators, softmax and normalisation are left out: they are bound by memory, not by arithmetic.
"""

from __future__ import annotations

from collections import Counter

import onnx
import onnx_ir as ir
from onnxscript import optimizer

from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph import operators
from temport.exporter.graph.flop_rules import Shape


def count_flops(model: ir.Model, declaration: Declaration) -> dict[str, float] | None:
    """FLOPs by operator, the largest first; symbolic axes count at the declaration's `opt`.

    None where a size depends on the data, so that there is no number to give. Operators without a row
    (`uncounted`) count nothing.
    """
    fixed = at_opt(model, declaration)
    flops: Counter[str] = Counter()
    for node in fixed.graph.all_nodes():
        if operators.of(node).flops is not None:
            count = node_flops(node)
            if count is None:
                return None
            flops[node.op_type] += count
    return {op: float(count) for op, count in flops.most_common()}


def node_flops(node: ir.Node) -> int | None:
    """Of one node, by the shapes that its values have; 0 of an operator without products, None where a size is open."""
    rule = operators.of(node).flops
    if rule is None:
        return 0
    values = [*node.inputs, node.outputs[0]]
    if any(value is not None and not _is_fixed(value) for value in values):
        return None
    *shapes, output = [None if value is None else _shape(value) for value in values]
    assert output is not None, "every node has an output"
    return rule(node, shapes, output)


def uncounted(model: ir.Model) -> list[ir.Node]:
    """Nodes whose work is not known, since their operator has no row in the operator table."""
    return [node for node in model.graph.all_nodes() if operators.known(node) is None]


def at_opt(model: ir.Model, declaration: Declaration) -> ir.Model:
    """The model itself where all its shapes are numbers, else a copy whose inputs have their `opt` sizes."""
    if all(axis.static for axis in declaration.axes.values()):
        return model
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    for value, spec in zip(proto.graph.input, declaration.inputs, strict=True):
        for dim, size in zip(value.type.tensor_type.shape.dim, spec.at(), strict=True):
            dim.dim_value = size
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    fixed = ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    optimizer.fold_constants(
        fixed
    )  # sizes that are computed from sizes, as where a table is cut to the length
    proto = ir.to_proto(fixed)
    del proto.graph.value_info[:]
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))


def _is_fixed(value: ir.Value) -> bool:
    return value.shape is not None and all(isinstance(size, int) for size in value.shape)


def _shape(value: ir.Value) -> Shape:
    assert value.shape is not None
    return tuple(size for size in value.shape if isinstance(size, int))
