"""A product of two narrow factors whose columns are taken apart behind it, as one product for each part.

So are queries, keys and values that one layer projects. TensorRT-RTX 1.7 takes the weight apart itself, but widens it
first, and then multiplies in float32. Parts of integers, or of fp8, with their scales are the same numbers.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.compilers.graph_edit import GraphEdit
from temport.exporter.graph.edit import put
from temport.exporter.graph.standard_operator import is_standard


def part_rounded_products(model: ir.Model) -> None:
    """In place. Run it where layers that round are pairs of operators."""
    for node in list(model.graph):
        if is_standard(node, "Split"):
            _part(model.graph, node)
    common.RemoveUnusedNodesPass()(model)


def _part(graph: ir.Graph, split: ir.Node) -> None:
    value, sizes = split.inputs[0], _constant(split.inputs[1]) if len(split.inputs) > 1 else None
    reshape = _alone(value, "Reshape")
    bias = _alone(value if reshape is None else reshape.inputs[0], "Add")
    product = None if bias is None else _alone(bias.inputs[0], "MatMul")
    if value is None or value.shape is None or sizes is None or bias is None or product is None:
        return
    axes = None if reshape is None else _constant(reshape.inputs[1])
    if reshape is not None and (axes is None or not axes[1:].all()):  # 0 is a size of what is reshaped
        return
    last = len(value.shape) - 1
    held, addend = _held(product, int(sizes.sum())), _constant(bias.inputs[1])
    if held is None or addend is None or split.attributes.get_int("axis", 0) % (last + 1) != last:
        return
    if addend.shape != (int(sizes.sum()),):
        return
    x, numbers, scale = held
    edit, start = GraphEdit(graph, split), 0
    for index, (old, size) in enumerate(zip(split.outputs, sizes.tolist(), strict=True)):
        columns = slice(start, start + size)
        start += size
        name = f"{product.name}/part_{index}"
        weight = edit.shared_constant(np.ascontiguousarray(numbers[:, columns]), f"{name}/weight")
        scales = edit.shared_constant(scale[columns], f"{name}/scale")
        wide = edit.op("DequantizeLinear", [weight, scales], {"axis": 1}, f"{name}/numbers")
        made = edit.op("MatMul", [x, wide], name=name)
        made = edit.op(
            "Add", [made, edit.shared_constant(addend[columns], f"{name}/bias")], name=f"{name}/sum"
        )
        if axes is not None:
            rows = edit.shared_constant(np.array([*axes[:-1], size]), f"{name}/shape")
            made = edit.op("Reshape", [made, rows], name=f"{name}/axes")
        made.type, made.shape = old.type, old.shape
        put(old, made)


def _held(product: ir.Node, columns: int) -> tuple[ir.Value, np.ndarray, np.ndarray] | None:
    """Of a product of two narrow factors: the first, and the numbers `[K, N]` and scales `[N]` of the second."""
    x, factor = product.inputs
    makers = [None if value is None else value.producer() for value in (x, factor)]
    if x is None or any(maker is None or not is_standard(maker, "DequantizeLinear") for maker in makers):
        return None
    weight = makers[1]
    assert weight is not None
    numbers, scale = _constant(weight.inputs[0]), _constant(weight.inputs[1])
    if numbers is None or scale is None or numbers.ndim != 2 or scale.shape != (columns,):
        return None
    return (x, numbers, scale) if weight.attributes.get_int("axis", 1) == 1 else None


def _alone(value: ir.Value | None, operator: str) -> ir.Node | None:
    """The node of that operator that makes the value, which nobody else reads."""
    node = None if value is None else value.producer()
    if node is None or value is None or not is_standard(node, operator):
        return None
    return node if len(list(value.uses())) == 1 and not value.is_graph_output() else None


def _constant(value: ir.Value | None) -> np.ndarray | None:
    return None if value is None or value.const_value is None else value.const_value.numpy()
