"""A dense layer in its one spelling, `MatMul` or `Gemm` with the weight `[inputs, outputs]` second, and what it says.

`spell_dense` writes every dense layer so, whichever way the tracer wrote it. A bias is a constant `[outputs]`, the
second operand of an `Add` or the third one of the `Gemm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.graph.standard_operator import is_standard

PLAIN = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
"""Attributes of a `Gemm` in the one spelling."""


@dataclass(frozen=True)
class Dense:
    """The nodes of a dense layer.

    product   the node that takes the data and, as its second input, the weight
    bias      the node that takes the bias, and at which input; None for no bias
    """

    product: ir.Node
    bias: tuple[ir.Node, int] | None

    @property
    def data(self) -> ir.Value:
        value = self.product.inputs[0]
        assert value is not None
        return value

    @property
    def weight(self) -> ir.Value:
        value = self.product.inputs[1]
        assert value is not None
        return value


@dataclass(frozen=True)
class Projection:
    """`data @ weight + bias`: weight `[C, N]`, bias `[N]` or None."""

    data: ir.Value
    weight: npt.NDArray[Any]
    bias: npt.NDArray[Any] | None


def dense_behind(value: ir.Value) -> Dense | None:
    """The dense layer that makes `value`, whoever else uses it."""
    node = value.producer()
    if node is None:
        return None
    if product_of(node) is not None:
        has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
        return Dense(node, (node, 2) if has_bias else None)
    product = node.inputs[0].producer() if is_standard(node, "Add") and node.inputs[0] is not None else None
    width = product_of(product) if product is not None and is_standard(product, "MatMul") else None
    if product is None or width is None or not is_bias(node.inputs[1], width):
        return None
    return Dense(product, (node, 1))


def product_of(node: ir.Node) -> int | None:
    """The number of outputs of the dense layer whose product is this node; None where it is none."""
    if (
        not is_standard(node, "MatMul", "Gemm")
        or node.inputs[0] is None
        or node.inputs[0].const_value is not None
    ):
        return None
    weight, bias = [*node.inputs, None][1:3]
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    if (
        weight is None
        or weight.const_value is None
        or len(weight.const_value.shape) != 2
        or PLAIN | given != PLAIN
    ):
        return None
    width = int(weight.const_value.numpy().shape[1])
    return width if bias is None or is_bias(bias, width) else None


def is_bias(value: ir.Value | None, width: int) -> bool:
    """Whether `value` is a constant `[width]`."""
    return value is not None and value.const_value is not None and list(value.const_value.shape) == [width]


def projection_behind(value: ir.Value) -> Projection | None:
    """The dense layer that makes `value` in numbers, whoever else uses it."""
    layer = dense_behind(value)
    if layer is None:
        return None
    weight = _constant(layer.weight)
    return Projection(layer.data, weight, None if layer.bias is None else _constant(_input(*layer.bias)))


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


def is_identity(weight: npt.NDArray[Any]) -> bool:
    """Whether a layer with this weight gives what it takes."""
    return np.array_equal(weight, np.eye(*weight.shape))


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None
    return value


def _constant(value: ir.Value) -> npt.NDArray[Any]:
    assert value.const_value is not None, "checked where the layer was found"
    return value.const_value.numpy()
