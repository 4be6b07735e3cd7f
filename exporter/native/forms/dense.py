"""Dense layers, whose weights are packed when the engine is made."""

from __future__ import annotations

import numpy as np

from temport.exporter.native.blob import panels
from temport.exporter.native.call import Call, Form, element
from temport.exporter.native.forms.stored import stored
from temport.exporter.native.sizes import product
from temport.exporter.native.tensors import Tensor

_ACTIVATIONS = {"none": "kNone", "relu": "kRelu", "gelu": "kGelu", "sigmoid": "kSigmoid", "silu": "kSilu"}


def fused_dense(call: Call) -> None:
    groups = call.attribute("groups", 1)
    rank = call.constant(1).ndim
    weight, scale = stored(call, 1, 5, rank - 1)
    dense(
        call,
        weight.reshape(groups, *weight.shape[-2:]),
        call.constant(2).reshape(groups, -1),
        call.attribute("activation", "none"),
        call.pointer(3),
        call.pointer(4),
        scale=None if scale is None else np.tile(scale, (groups, 1)),
    )


def dense(
    call: Call,
    weight: np.ndarray,
    bias: np.ndarray,
    activation: str = "none",
    factor: str = "nullptr",
    addend: str = "nullptr",
    x: Tensor | None = None,
    scale: np.ndarray | None = None,
) -> None:
    """weight `[groups, inputs, outputs]`, bias and scale `[groups, outputs]`; `x` in place of the node's first input"""
    groups, inputs, outputs = weight.shape
    width = call.plan.isa.panel
    x, y = x or call.input(0), call.output()
    packed, added = call.weight(panels(weight, width)), call.weight(panels(bias[:, None, :], width))
    scales = "nullptr" if scale is None else call.weight(panels(scale[:, None, :], width))
    rows = product(x.shape[:-1])
    caller = call.plan.caller(rows.most * weight.size)
    call.line(
        f"dense<{groups}, {inputs}, {outputs}, Activation::{_ACTIVATIONS[activation]}, {element(weight)}>({caller}"
        f"{rows.code}, {{{x.code}, {packed}, {added}, {scales}, {factor}, {addend}, {y.code}}});"
    )


FORMS: dict[str, Form] = {"FusedDense": fused_dense}
