"""What became of every product with a weight, layer by layer: what the engine holds of the weight, and what it
multiplies.

The layer table says which nodes a layer was made of and which types it reads. A product of integers is a layer of its
own; in float32 its factors are widened first, by other layers or within this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.compilers.layers import EngineLayer, LayerTensor
from temport.exporter.compilers.lower_rounded_inputs import weights_of
from temport.exporter.graph import operators
from temport.exporter.graph.standard_operator import is_standard

NAMES = {
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Int8": "int8",
    "Int4": "int4",
    "FP8": "float8e4m3fn",
}
"""Element types of the layer table, as ONNX calls them."""
_NARROW = {ir.DataType.INT8: "int8", ir.DataType.FLOAT8E4M3FN: "float8e4m3fn"}
"""Types that products are made of where both factors are of them."""


def products_table(model: ir.Model, layers: Sequence[EngineLayer]) -> list[dict[str, Any]]:
    """Per constant weight of a `MatMul`, a `Gemm` or a recurrent layer of the lowered model.

    layer        its name
    weight_name  what the file calls the weight
    input        what it takes: `int8` where that is rounded, else what the graph computes in
    weight       what the file holds of its weight
    held         what the engine holds of it; None where the layer table does not say
    computes_in  what it multiplies; None where the layer table names no layer of it
    """
    common.ShapeInferencePass()(model)  # what came out of a function has no type
    return [
        _product(node, place, weight, layers) for node in model.graph for place, weight in weights_of(node)
    ]


def widened_products(table: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A sentence on the products of narrow factors that the engine multiplies in a wider type."""
    wide = [
        entry
        for entry in table
        if entry["input"] in _NARROW.values() and entry["input"] == entry["weight"] != entry["computes_in"]
    ]
    if wide:
        names = ", ".join(f"{entry['layer']} ({entry['computes_in'] or 'not known'})" for entry in wide)
        yield (
            f"{len(wide)} of {len(table)} products have both factors in {wide[0]['input']}, and the engine multiplies "
            f"them in a wider type, so they are no faster; what they compute is the same: {names}"
        )


def lost_roundings(model: ir.Model, layers: Sequence[EngineLayer]) -> Iterator[str]:
    """Nodes that round, and that no layer of the engine was made of: it may compute other numbers than the file says.

    Of several that round the same value by the same scale, or parts of it, one is enough.
    """
    seen = {name for layer in layers for name in layer.onnx_nodes}
    groups: dict[tuple[ir.Value | None, bytes], list[str]] = {}
    for node in model.graph:
        if is_standard(node, "QuantizeLinear") and node.name:
            scale = None if node.inputs[1] is None else node.inputs[1].const_value
            key = _moved(node.inputs[0]), b"" if scale is None else scale.tobytes()
            groups.setdefault(key, []).append(node.name)
    for names in groups.values():
        if not seen & set(names):
            yield (
                f"no layer of the engine rounds for {names[0]}: the builder took the rounding out, so the engine "
                "computes something else than the file says"
            )


def _product(node: ir.Node, place: int, weight: ir.Value, layers: Sequence[EngineLayer]) -> dict[str, Any]:
    factor = node.inputs[place]
    stored = None if factor is None else factor.producer()
    made = [layer for layer in layers if node.name in layer.onnx_nodes]
    widen = [layer for layer in layers if stored is not None and stored.name in layer.onnx_nodes]
    assert weight.const_value is not None
    return {
        "layer": node.name,
        "weight_name": weight.name,
        "input": _input(node),
        "weight": _told(weight.dtype),
        "held": _held([*made, *widen], weight.const_value.size),
        "computes_in": _computes_in(made),
    }


def _input(node: ir.Node) -> str:
    """The type of a rounded input, else that of the graph."""
    x = _moved(node.inputs[0])
    maker = None if x is None else x.producer()
    if maker is not None and is_standard(maker, "DequantizeLinear"):
        x = maker.inputs[0]
    return _told(None if x is None else x.dtype)


def _moved(value: ir.Value | None) -> ir.Value | None:
    """What the numbers of a value are, before they were put to other places."""
    while value is not None and (maker := value.producer()) is not None and operators.of(maker).moves:
        value = maker.inputs[0]
    return value


def _held(layers: Sequence[EngineLayer], numbers: int) -> str | None:
    """The type of the constant that is the weight, or that it is a part of."""
    large = [c for layer in layers for c in layer.constants if c.numbers >= numbers]
    return NAMES.get(min(large, key=lambda c: c.numbers).type) if large else None


def _computes_in(layers: Sequence[EngineLayer]) -> str | None:
    for layer in layers:
        factors = {tensor.type for tensor in _factors(layer)}
        if "gemm" in layer.type.lower() and len(factors) == 1:
            return NAMES.get(factors.pop())
    floats = {tensor.type for layer in layers for tensor in layer.outputs} & {"Float", "Half", "BFloat16"}
    return NAMES[max(floats, key=lambda kind: kind == "Float")] if floats else None


def _factors(layer: EngineLayer) -> tuple[LayerTensor, ...]:
    """What it multiplies: all that it reads but single numbers."""
    return tuple(tensor for tensor in layer.inputs + layer.constants if tensor.numbers != 1)


def _told(kind: ir.DataType | None) -> str:
    named = {ir.DataType.FLOAT: "float32", ir.DataType.FLOAT16: "float16", ir.DataType.BFLOAT16: "bfloat16"}
    return "unknown" if kind is None else named.get(kind, kind.name.lower())
