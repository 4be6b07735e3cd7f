"""A dense layer as the tracer writes it: `MatMul` with a constant weight, then `Add` of a constant bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.graph.standard_operator import is_standard


@dataclass(frozen=True)
class Projection:
    """`data @ weight + bias`: weight `[C, N]`, bias `[N]` or None."""

    data: ir.Value
    weight: npt.NDArray[Any]
    bias: npt.NDArray[Any] | None


def projection_behind(value: ir.Value) -> Projection | None:
    """The dense layer that makes `value`, whoever else uses it."""
    node = value.producer()
    if node is None or not is_standard(node):
        return None
    if node.op_type == "MatMul":
        return _product(node)
    if node.op_type != "Add":
        return None
    for product, bias in (node.inputs, reversed(node.inputs)):
        matmul = product.producer() if product is not None else None
        constant = _constant(bias)
        layer = _product(matmul) if matmul is not None and matmul.op_type == "MatMul" else None
        if layer is not None and constant is not None and constant.shape == layer.weight.shape[1:]:
            return Projection(layer.data, layer.weight, constant)
    return None


def through(inner: Projection, outer: Projection) -> Projection:
    """Two dense layers as one, multiplied in float64 and rounded once to the outer layer's dtype."""
    dtype = outer.weight.dtype
    wide = outer.weight.astype(np.float64)
    bias = None
    if inner.bias is not None:
        bias = inner.bias.astype(np.float64) @ wide
    if outer.bias is not None:
        bias = outer.bias if bias is None else bias + outer.bias
    weight = inner.weight.astype(np.float64) @ wide
    return Projection(inner.data, weight.astype(dtype), None if bias is None else bias.astype(dtype))


def _product(matmul: ir.Node) -> Projection | None:
    data, weight = matmul.inputs[0], _constant(matmul.inputs[1])
    if data is None or weight is None or weight.ndim != 2:
        return None
    return Projection(data, weight, None)


def _constant(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    return value.const_value.numpy() if value is not None and value.const_value is not None else None
