"""Normalisation over the last axis."""

from __future__ import annotations

from temport.exporter.native.plan import Call, Form, NoForm
from temport.exporter.native.sizes import product


def residual_layer_norm(call: Call) -> None:
    _layer_norm(call, call.pointer(2), call.pointer(3), bool(call.attribute("centred", 1)))


def layer_normalization(call: Call) -> None:
    rank = len(call.input(0).shape)
    if call.attribute("axis", -1) % rank != rank - 1 or call.wants(1) or call.wants(2):
        raise NoForm("it works through more than the last axis, or gives its means")
    bias = call.pointer(2) if call.has(2) else call.weight(0 * call.constant(1))
    _layer_norm(call, bias, "nullptr")


def _layer_norm(call: Call, bias: str, addend: str, centred: bool = True) -> None:
    x, y = call.input(0), call.output()
    if not x.shape[-1].fixed:
        raise NoForm("the width of its rows is open")
    epsilon = float(call.attribute("epsilon", 1e-5))
    kind = f"{x.shape[-1]}, {str(addend != 'nullptr').lower()}, {str(centred).lower()}"
    call.line(
        f"layer_norm<{kind}>({product(x.shape[:-1]).code}, "
        f"{epsilon!r}f, {{{x.code}, {addend}, {call.pointer(1)}, {bias}, {y.code}}});"
    )


FORMS: dict[str, Form] = {
    "LayerNormalization": layer_normalization,
    "ResidualLayerNorm": residual_layer_norm,
}
