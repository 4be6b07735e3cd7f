"""Dense layers, whose weights are packed when the engine is made."""

from __future__ import annotations

import numpy as np

from temport.exporter.native.blob import panels
from temport.exporter.native.call import Call, Form, element
from temport.exporter.native.forms.stored import Stored, stored
from temport.exporter.native.sizes import product
from temport.exporter.native.tensors import Tensor

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
    )


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
    groups, outputs = bias.shape
    inputs, width = weight.inputs(-2), call.plan.isa.panel
    x, y = x or call.input(0), call.output()

    def packed(array: np.ndarray, rows: int) -> str:
        return call.weight(panels(array.reshape(groups, rows, outputs), width))

    arrays = [
        x.code,
        packed(weight.weight, weight.weight.shape[-2]),
        packed(bias, 1),
        "nullptr" if weight.scale is None else packed(weight.scale, 1),
        factor,
        addend,
        y.code,
        *([str(weight.block)] if weight.block else []),
    ]
    rows = product(x.shape[:-1])
    caller = call.plan.caller(rows.most * groups * inputs * outputs)
    kinds = f"{groups}, {inputs}, {outputs}, Activation::{_ACTIVATIONS[activation]}, {element(weight.weight)}"
    call.line(f"dense<{kinds}>({caller}{rows.code}, {{{', '.join(arrays)}}});")


FORMS: dict[str, Form] = {"FusedDense": fused_dense}
