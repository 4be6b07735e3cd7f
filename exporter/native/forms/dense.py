"""Dense layers, whose weights are packed when the engine is made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from temport.exporter.native.blob import panels
from temport.exporter.native.call import Call, Form, element
from temport.exporter.native.forms.stored import Stored, stored
from temport.exporter.native.sizes import fixed, product
from temport.exporter.native.tensors import Tensor

_WIDEST = 16
"""Floats of a vector."""
_MOST_INTEGERS = 65536
"""Inputs whose products with int8 a sum of 32 bits holds: kMostIntegers of custom_ops/native/problem.h."""
_ACTIVATIONS = {"none": "kNone", "relu": "kRelu", "gelu": "kGelu", "sigmoid": "kSigmoid", "silu": "kSilu"}


def fused_dense(call: Call) -> None:
    rank = call.constant(1).ndim
    weight = stored(call, 1, 5, rank - 2, rank - 1)
    bias = call.constant(2).reshape(call.attribute("groups", 1), -1)
    epilogue = call.attribute("activation", "none"), call.pointer(3), call.pointer(4)
    if call.has(6):
        _rounded(call, weight, bias, np.float32(call.constant(6)), *epilogue)
    else:
        dense(call, weight, bias, *epilogue)


def dense(
    call: Call,
    weight: Stored,
    bias: np.ndarray,
    activation: str = "none",
    factor: str = "nullptr",
    addend: str = "nullptr",
    x: Tensor | None = None,
) -> None:
    """weight `[groups, inputs, outputs]`, of one group without that axis too, bias `[groups, outputs]`; `x` in place of
    the node's first input
    """
    sizes, given = _layer(call, weight, bias, activation, factor, addend, x or call.input(0))
    call.line(f"dense<{sizes}, {element(weight.weight)}, {call.plan.isa.way}>({given});")


def _rounded(
    call: Call,
    weight: Stored,
    bias: np.ndarray,
    x_scale: np.float32,
    activation: str,
    factor: str,
    addend: str,
) -> None:
    """The same of an input that is rounded to int8 times `x_scale`."""
    x, groups, inputs, step = call.input(0), len(bias), weight.inputs(-2), f"{float(x_scale)!r}f"
    rows = product(x.shape[:-1])
    room = call.plan.room("float", rows * fixed(groups * (inputs + _WIDEST)))
    scales = _scales_in_one(weight, inputs, x_scale)
    if scales is None:
        call.line(f"round_floats({x.code}, 0, {rows * fixed(groups * inputs)}, {step}, {room});")
        return dense(call, weight, bias, activation, factor, addend, replace(x, place=room))
    sizes, given = _layer(call, replace(weight, scale=scales), bias, activation, factor, addend, x)
    call.line(f"rounded_dense<{sizes}, {call.plan.isa.way}>({given}, {{{step}, {room}}});")


def _layer(
    call: Call, weight: Stored, bias: np.ndarray, activation: str, factor: str, addend: str, x: Tensor
) -> tuple[str, str]:
    """Arguments of a layer's template but for the last, and of its function."""
    groups, outputs = bias.shape
    inputs, rows = weight.inputs(-2), product(x.shape[:-1])
    arrays = [
        x.code,
        _packed(call, weight.weight.reshape(groups, -1, outputs)),
        _packed(call, bias[:, None]),
        "nullptr" if weight.scale is None else _packed(call, weight.scale.reshape(groups, 1, outputs)),
        factor,
        addend,
        call.output().code,
        *([str(weight.block)] if weight.block else []),
    ]
    caller = call.plan.caller(rows.most * groups * inputs * outputs)
    return (
        f"{groups}, {inputs}, {outputs}, Activation::{_ACTIVATIONS[activation]}",
        f"{caller}{rows.code}, {{{', '.join(arrays)}}}",
    )


def _packed(call: Call, array: np.ndarray) -> str:
    return call.weight(panels(array, call.plan.isa.panel))


def _scales_in_one(weight: Stored, inputs: int, x_scale: np.float32) -> np.ndarray | None:
    """The products of both scales where rounded inputs are multiplied as integers, by the rule of
    custom_ops/fused_dense/ort_op.h; None where as floats.
    """
    if weight.weight.dtype != np.int8 or weight.scale is None or inputs > _MOST_INTEGERS:
        return None
    with np.errstate(over="ignore", under="ignore"):
        products = weight.scale * x_scale
    size, limits = np.abs(products), np.finfo(np.float32)
    normal = (weight.scale == 0) | ((size >= limits.tiny) & (size <= limits.max))
    return products if normal.all() else None


FORMS: dict[str, Form] = {"FusedDense": fused_dense}
