"""Optimisation profiles from the declaration: TensorRT needs bounds for every dynamic input."""

from __future__ import annotations

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec

Profile = dict[str, dict[str, list[int]]]
"""Input name -> {"min", "opt", "max"} shapes."""


def profile(declaration: Declaration) -> Profile:
    """One profile that covers the declared axes; empty when every shape is static."""
    if all(axis.static for axis in declaration.axes.values()):
        return {}
    return {
        spec.name: {bound: _shape(spec, bound) for bound in ("min", "opt", "max")}
        for spec in declaration.inputs
    }


def _shape(spec: TensorSpec, bound: str) -> list[int]:
    return [getattr(d, bound) if isinstance(d, Axis) else d for d in spec.shape]
