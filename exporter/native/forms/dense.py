"""Products with constant weights, which are packed when the engine is made."""

from __future__ import annotations

import numpy as np

from temport.exporter.native.blob import panels
from temport.exporter.native.plan import Call, Form, NoForm
from temport.exporter.native.sizes import product

_ACTIVATIONS = {"none": "kNone", "relu": "kRelu", "gelu": "kGelu", "sigmoid": "kSigmoid", "silu": "kSilu"}


def fused_dense(call: Call) -> None:
    groups = call.attribute("groups", 1)
    weight, bias = call.constant(1), call.constant(2)
    _dense(
        call,
        weight.reshape(groups, *weight.shape[-2:]),
        bias.reshape(groups, -1),
        call.attribute("activation", "none"),
        call.pointer(3),
        call.pointer(4),
    )


def matmul(call: Call) -> None:
    weight = call.constant(1)
    if weight.ndim != 2:
        raise NoForm("its second operand is no matrix")
    _dense(call, weight[None], np.zeros((1, weight.shape[1])))


def gemm(call: Call) -> None:
    weight = call.constant(1) * call.attribute("alpha", 1.0)
    if call.attribute("transA", 0):
        raise NoForm("its first operand is transposed")
    if call.attribute("transB", 0):
        weight = weight.T
    bias = np.zeros(weight.shape[1])
    if call.has(2):
        given = call.constant(2) * call.attribute("beta", 1.0)
        if given.size not in (1, bias.size):
            raise NoForm("its third operand has more than one row")
        bias = np.broadcast_to(given.reshape(-1), bias.shape)
    _dense(call, weight[None], bias[None])


def _dense(
    call: Call,
    weight: np.ndarray,
    bias: np.ndarray,
    activation: str = "none",
    factor: str = "nullptr",
    addend: str = "nullptr",
) -> None:
    """weight `[groups, inputs, outputs]`, bias `[groups, outputs]`"""
    groups, inputs, outputs = weight.shape
    width = call.plan.isa.panel
    x, y = call.input(0), call.output()
    packed, added = call.weight(panels(weight, width)), call.weight(panels(bias[:, None, :], width))
    call.line(
        f"dense<{groups}, {inputs}, {outputs}, Activation::{_ACTIVATIONS[activation]}>("
        f"{product(x.shape[:-1]).code}, {{{x.code}, {packed}, {added}, {factor}, {addend}, {y.code}}});"
    )


FORMS: dict[str, Form] = {"FusedDense": fused_dense, "MatMul": matmul, "Gemm": gemm}
