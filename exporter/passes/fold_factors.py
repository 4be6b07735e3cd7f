"""A constant factor before or behind a dense layer, as part of the layer's weight and bias.

    (x c) W + b = x (c W) + b          (x W + b) c = x (W c) + b c

Each is otherwise a node and a pass of its own over as many numbers as the layer takes or gives. The products are made
in float64 and rounded once to the weight's dtype. A weight that another layer has too would be held twice, and stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph.dense_layer import is_bias, only_user
from temport.exporter.graph.edit import initializer, replace
from temport.exporter.graph.standard_operator import is_standard

Array = npt.NDArray[Any]
ROUNDED = {ir.DataType.FLOAT, ir.DataType.DOUBLE}
"""The types of weights that are changed."""


@dataclass(frozen=True)
class Layer:
    """A `Gemm`, or a `MatMul` with the `Add` behind it or without one.

    product   the node that has the weight
    turned    whether that lies `[outputs, inputs]`
    bias      the node that has the bias, and at which input; None for no bias
    """

    product: ir.Node
    turned: bool
    bias: tuple[ir.Node, int] | None


def fold_factors(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where no factor was found. Run it before dense layers are put together."""
    graph = model.graph
    found = [node for node in list(graph) if _into_next(graph, node) or _into_last(graph, node)]
    if found:
        common.RemoveUnusedNodesPass()(model)
    return bool(found)


def _factor(node: ir.Node) -> tuple[ir.Value, Array] | None:
    """What the node multiplies, and by what: float64, one number or one for each entry of the last axis."""
    if not is_standard(node, "Mul", "Div"):
        return None
    one, other = node.inputs
    for x, c in ((one, other), (other, one)) if node.op_type == "Mul" else ((one, other),):
        if x is None or c is None or not x.shape or c.const_value is None or x.const_value is not None:
            continue
        constants = c.const_value.numpy()
        along_last = constants.size == (constants.shape or (1,))[-1]
        if along_last and constants.ndim <= len(x.shape) and constants.size in (1, x.shape[-1]):
            factor = constants.reshape(-1).astype(np.float64)
            with np.errstate(divide="ignore"):
                return x, factor if node.op_type == "Mul" else 1 / factor
    return None


def _into_next(graph: ir.Graph, node: ir.Node) -> bool:
    """Into the layer that alone takes the product."""
    found, user = _factor(node), only_user(node.outputs[0])
    turned = _is_turned(user) if user is not None else None
    if found is None or user is None or turned is None or user.inputs[0] is not node.outputs[0]:
        return False
    x, factor = found
    if not _scale(graph, [(user, 1, factor if turned else factor[:, None])]):
        return False
    user.replace_input_with(0, x)
    return True


def _into_last(graph: ir.Graph, node: ir.Node) -> bool:
    """Into the layer whose result goes nowhere else."""
    found = _factor(node)
    layer = _layer_behind(found[0]) if found is not None and only_user(found[0]) is node else None
    if found is None or layer is None:
        return False
    result, factor = found
    places = [(layer.product, 1, factor[:, None] if layer.turned else factor)]
    if layer.bias is not None:
        places.append((*layer.bias, factor))
    if not _scale(graph, places):
        return False
    replace(graph, node, result)
    return True


def _layer_behind(result: ir.Value) -> Layer | None:
    node = result.producer()
    assert node is not None, "its only user was found in the graph that makes it"
    if not is_standard(node, "Add"):
        turned = _is_turned(node)
        bias = (node, 2) if len(node.inputs) > 2 and node.inputs[2] is not None else None
        return None if turned is None else Layer(node, turned, bias)
    for index, product in enumerate(node.inputs):
        matmul = product.producer() if product is not None and only_user(product) is node else None
        if matmul is not None and is_standard(matmul, "MatMul") and _is_turned(matmul) is not None:
            weight, addend = matmul.inputs[1], node.inputs[1 - index]
            assert weight is not None and weight.const_value is not None
            outputs = weight.const_value.numpy().shape[1]
            return Layer(matmul, False, (node, 1 - index)) if is_bias(addend, outputs) else None
    return None


def _is_turned(node: ir.Node) -> bool | None:
    """Whether the weight lies `[outputs, inputs]`; None where the node is no dense layer with a weight of its own."""
    weight = node.inputs[1] if is_standard(node, "Gemm", "MatMul") else None
    if weight is None or weight.const_value is None or len(weight.const_value.shape) != 2:
        return None
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    if weight.dtype not in ROUNDED or len(weight.uses()) > 1 or given.get("transA", 0):
        return None
    turned = bool(given.get("transB", 0))
    outputs = weight.const_value.numpy().shape[0 if turned else 1]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return turned if bias is None or is_bias(bias, outputs) else None


def _scale(graph: ir.Graph, places: list[tuple[ir.Node, int, Array]]) -> bool:
    """Multiply the constants that nodes take at these inputs; False, and nothing done, where digits would be lost."""
    scaled = []
    for node, index, factor in places:
        value = node.inputs[index]
        assert value is not None and value.const_value is not None
        constants = value.const_value.numpy()
        with np.errstate(all="ignore"):
            exact = constants.astype(np.float64) * factor
            rounded = exact.astype(constants.dtype)
        least = np.finfo(constants.dtype).smallest_normal
        if not np.isfinite(rounded).all() or (np.abs(exact[exact != 0]) < least).any():
            return False
        scaled.append(rounded)
    for (node, index, _), constants in zip(places, scaled, strict=True):
        value = node.inputs[index]
        assert value is not None
        name = f"{value.name}/scaled/for/{node.outputs[0].name}"
        node.replace_input_with(index, initializer(graph, name, constants))
    return True
