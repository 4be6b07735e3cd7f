"""Dense layers, whose weights are packed when the engine is made."""

from __future__ import annotations

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
    dense(
        call,
        stored(call, 1, 5, rank - 2, rank - 1),
        call.constant(2).reshape(call.attribute("groups", 1), -1),
        call.attribute("activation", "none"),
        call.pointer(3),
        call.pointer(4),
        x_scale=np.float32(call.constant(6)) if call.has(6) else None,
    )


def dense(
    call: Call,
    weight: Stored,
    bias: np.ndarray,
    activation: str = "none",
    factor: str = "nullptr",
    addend: str = "nullptr",
    x: Tensor | None = None,
    x_scale: np.float32 | None = None,
) -> None:
    """weight `[groups, inputs, outputs]`, of one group without that axis too, bias `[groups, outputs]`; `x` in place of
    the node's first input, which is rounded to int8 times `x_scale` where there is one
    """
    groups, outputs = bias.shape
    inputs, width = weight.inputs(-2), call.plan.isa.panel
    x, y = x or call.input(0), call.output()
    rows, scale, source = product(x.shape[:-1]), weight.scale, x.code
    multiplies_integers = False
    if x_scale is not None:
        room = call.plan.room("float", rows * fixed(groups * (inputs + _WIDEST)))
        multiplies_integers = _in_range(weight, inputs, x_scale)
        if multiplies_integers:
            assert scale is not None
            scale = scale * x_scale
        else:
            call.line(
                f"round_floats({source}, 0, {rows.code} * {groups * inputs}, {float(x_scale)!r}f, {room});"
            )
            source = room

    def packed(array: np.ndarray, rows: int) -> str:
        return call.weight(panels(array.reshape(groups, rows, outputs), width))

    arrays = [
        source,
        packed(weight.weight, weight.weight.shape[-2]),
        packed(bias, 1),
        "nullptr" if scale is None else packed(scale, 1),
        factor,
        addend,
        y.code,
        *([str(weight.block)] if weight.block else []),
    ]
    caller = call.plan.caller(rows.most * groups * inputs * outputs)
    given = f"{caller}{rows.code}, {{{', '.join(arrays)}}}"
    sizes = f"{groups}, {inputs}, {outputs}, Activation::{_ACTIVATIONS[activation]}"
    if multiplies_integers:
        assert x_scale is not None
        way, start = "Pairs", "nullptr"
        if call.plan.isa.fours:
            sums = -128 * weight.weight.reshape(groups, inputs, outputs).sum(1, dtype=np.int32)
            way, start = "Fours", packed(sums.view(np.float32), 1)
        call.line(f"rounded_dense<{sizes}, {way}>({given}, {{{float(x_scale)!r}f, {start}, {room}}});")
    else:
        call.line(f"dense<{sizes}, {element(weight.weight)}>({given});")


def _in_range(weight: Stored, inputs: int, x_scale: np.float32) -> bool:
    """Whether rounded inputs are multiplied as integers, by the rule of custom_ops/fused_dense/ort_op.h."""
    if weight.weight.dtype != np.int8 or weight.scale is None or inputs > _MOST_INTEGERS:
        return False
    with np.errstate(over="ignore", under="ignore"):
        size = np.abs(weight.scale * x_scale)
    limits = np.finfo(np.float32)
    return bool(np.all((weight.scale == 0) | ((size >= limits.tiny) & (size <= limits.max))))


FORMS: dict[str, Form] = {"FusedDense": fused_dense}
