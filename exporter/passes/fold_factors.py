"""A constant factor before or behind a dense layer, as part of the layer's weight and bias.

    (x c) W + b = x (c W) + b          (x W + b) c = x (W c) + b c

Each is otherwise a node and a pass of its own over as many numbers as the layer takes or gives. The products are made
in float64 and rounded once to the weight's dtype. A weight that another layer has too would be held twice, and stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph.dense_layer import only_user
from temport.exporter.graph.edit import initializer, replace
from temport.exporter.graph.projection import dense_behind, product_of
from temport.exporter.graph.standard_operator import is_standard

Array = npt.NDArray[Any]
ROUNDED = {ir.DataType.FLOAT, ir.DataType.DOUBLE}
"""The types of weights that are changed."""


def fold_factors(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where no factor was found. Run it after `spell_dense`."""
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
    if (
        found is None
        or user is None
        or not _has_weight_of_its_own(user)
        or user.inputs[0] is not node.outputs[0]
    ):
        return False
    x, factor = found
    if not _scale(graph, [(user, 1, factor[:, None])]):
        return False
    user.replace_input_with(0, x)
    return True


def _into_last(graph: ir.Graph, node: ir.Node) -> bool:
    """Into the layer whose result goes nowhere else."""
    found = _factor(node)
    layer = dense_behind(found[0]) if found is not None and only_user(found[0]) is node else None
    if found is None or layer is None or not _has_weight_of_its_own(layer.product):
        return False
    result, factor = found
    if (
        layer.product is not result.producer()
        and only_user(layer.product.outputs[0]) is not result.producer()
    ):
        return False
    places = [(layer.product, 1, factor)]
    if layer.bias is not None:
        places.append((*layer.bias, factor))
    if not _scale(graph, places):
        return False
    replace(graph, node, result)
    return True


def _has_weight_of_its_own(node: ir.Node) -> bool:
    weight = node.inputs[1] if product_of(node) is not None else None
    return weight is not None and weight.dtype in ROUNDED and len(weight.uses()) == 1


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
