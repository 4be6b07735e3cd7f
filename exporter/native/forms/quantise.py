"""Activations that are made int8 and numbers again outside of a layer."""

from __future__ import annotations

from temport.exporter.native.call import Call, Form
from temport.exporter.native.tensors import NoForm


def quantise(call: Call) -> None:
    _each(call, "quantise", "float", "int8_t")


def dequantise(call: Call) -> None:
    _each(call, "dequantise", "int8_t", "float")


def _each(call: Call, function: str, given: str, made: str) -> None:
    x, y = call.input(0), call.output()
    if call.has(2) and call.constant(2).any():
        raise NoForm("its zero point is not 0")
    scale = call.constant(1)
    if scale.size != 1:
        raise NoForm("it has several scales")
    if (x.type, y.type) != (given, made):
        raise NoForm(f"it makes {y.type} of {x.type}")
    call.line(f"{function}({x.code}, {x.elements.code}, {float(scale.item())!r}f, {y.code});")


FORMS: dict[str, Form] = {"DequantizeLinear": dequantise, "QuantizeLinear": quantise}
