"""Output axes that are computed from input axes: what the trace says of them, as expressions that readers evaluate."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.declare.fitted import computed
from temport.exporter.declare.observe import UNKNOWN
from temport.exporter.declare.sizes import names, normal
from temport.exporter.errors import UserError


def outputs_of(model: ir.Model, declaration: Declaration) -> tuple[TensorSpec, ...]:
    """The declared outputs with each `UNKNOWN` axis as the traced graph has it; the graph's own axes get these names.

    UserError where the graph says otherwise than the module did when it was run, or does not say a size.
    """
    found = []
    for value, spec in zip(model.graph.outputs, declaration.outputs, strict=True):
        if value.shape is None or len(value.shape) != len(spec.shape):
            raise UserError(f"output {spec.name} has no shape of {len(spec.shape)} axes after tracing")
        axes = tuple(
            _axis(told, seen, f"axis {place} of output {spec.name}", declaration)
            for place, (told, seen) in enumerate(zip(spec.shape, value.shape, strict=True))
        )
        found.append(replace(spec, shape=axes))
        value.shape = ir.Shape(found[-1].onnx_shape())
    return tuple(found)


def _axis(told: Axis | int, seen: int | ir.SymbolicDim, what: str, declaration: Declaration) -> Axis | int:
    if isinstance(told, int) or told.static:
        given = told if isinstance(told, int) else told.opt
        if isinstance(seen, int) and seen != given:
            raise UserError(f"{what} is {given} where the module runs and {seen} in the traced graph")
        return told
    if told.name != UNKNOWN:
        return told
    if isinstance(seen, int):
        raise UserError(
            f"{what} moves with the inputs, from {told.min} to {told.max}, and the trace freezes it to {seen}; "
            "give a fixed size of the axes"
        )
    try:
        expression = normal(str(seen.value))
        unknown = names(expression) - declaration.axes.keys()
    except ValueError:
        unknown = {str(seen.value)}
    if unknown:
        raise UserError(
            f"{what} is no expression of the axes {', '.join(declaration.axes)}: its size depends on values, or on "
            f"{seen.value}; a graph needs sizes that follow from those of its inputs"
        )
    return computed(expression, declaration.axes)
