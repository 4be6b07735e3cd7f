"""The graph that a plan is made of: what has a native form stays, our other ops become their bodies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.custom_ops.domain import DOMAIN
from temport.exporter.declare.declaration import Axis
from temport.exporter.errors import UserError
from temport.exporter.graph.edit import initializer, named, replace
from temport.exporter.graph.layers import layer_of
from temport.exporter.graph.quantised import Quantised
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.native.definitions import spell_definitions
from temport.exporter.native.einsum import spell_einsums
from temport.exporter.native.forms import FORMS, REFUSED
from temport.exporter.native.shapes import complete_shapes

_SHAPED = {"Expand": 1, "Reshape": 1}
"""Operators whose output is planned by its shape, and the input that computes it, which the plan can do without."""


def prepared(model: ir.Model, axes: Mapping[str, Axis]) -> ir.Graph:
    """The graph of `model`, which is changed in place, where inputs have these axes. UserError names the operators that
    have no native form.
    """
    spell_definitions(model, FORMS)
    common.InlinePass(criteria=lambda function: function.name not in FORMS)(model)
    common.LiftConstantsToInitializersPass(size_limit=0)(model)
    _unpack(model.graph)
    complete_shapes(model, axes)
    for node in model.graph:
        if node.op_type in _SHAPED and is_standard(node):
            node.replace_input_with(_SHAPED[node.op_type], None)
    common.RemoveUnusedNodesPass()(model)
    spell_einsums(model.graph)
    missing: dict[str, list[ir.Node]] = {}
    for node in model.graph:
        if node.op_type not in FORMS or not (is_standard(node) or node.domain == DOMAIN):
            name = node.op_type if is_standard(node) else f"{node.domain}::{node.op_type}"
            missing.setdefault(name, []).append(node)
    if missing:
        told = "; ".join(_told(name, nodes) for name, nodes in sorted(missing.items()))
        raise UserError(f"--target native has no form of {told}")
    return model.graph


def _unpack(graph: ir.Graph) -> None:
    """Weights of standard operators that are stored in fewer bits, as the numbers that they mean."""
    for node in list(graph):
        constants = [None if value is None else value.const_value for value in node.inputs]
        if not is_standard(node, "DequantizeLinear", "Cast") or not constants or None in constants:
            continue
        arrays = [constant.numpy() for constant in constants if constant is not None]
        if node.op_type == "DequantizeLinear" and len(arrays) == 2:
            given = {name: attribute.as_int() for name, attribute in node.attributes.items()}
            values, scale = arrays
            weight = Quantised(values, scale, given.get("axis", 1), given.get("block_size", 0)).numbers()
        elif node.outputs[0].dtype == ir.DataType.FLOAT and arrays[0].dtype == np.float16:
            weight = arrays[0].astype(np.float32)
        else:
            continue
        replace(graph, node, initializer(graph, named(node.outputs[0], "unpacked"), weight))


def _told(name: str, nodes: list[ir.Node]) -> str:
    """The operator, its first layer, and why it has no form."""
    layers = [layer for layer in map(layer_of, nodes) if layer]
    where = f" in {layers[0]}" if layers else ""
    return name + where + (f", for {REFUSED[name]}" if name in REFUSED else "")
