"""The graph that a plan is made of: what has a native form stays, our other ops become their bodies."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.errors import UserError
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.native.forms import FORMS

_SHAPED = {"Expand": 1, "Reshape": 1}
"""Operators whose output is planned by its shape, and the input that computes it, which the plan can do without."""


def prepared(model: ir.Model) -> ir.Graph:
    """The graph of `model`, which is changed in place. UserError names the operators that have no native form."""
    common.InlinePass(criteria=lambda function: function.name not in FORMS)(model)
    common.LiftConstantsToInitializersPass(size_limit=0)(model)
    if any(value.shape is None or value.type is None for node in model.graph for value in node.outputs):
        common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    for node in model.graph:
        if node.op_type in _SHAPED and is_standard(node):
            node.replace_input_with(_SHAPED[node.op_type], None)
    common.RemoveUnusedNodesPass()(model)
    missing = sorted(
        {
            node.op_type if is_standard(node) else f"{node.domain}::{node.op_type}"
            for node in model.graph
            if node.op_type not in FORMS
        }
    )
    if missing:
        raise UserError(f"--target native has no form of {', '.join(missing)}")
    return model.graph
