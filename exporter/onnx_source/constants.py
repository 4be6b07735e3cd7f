"""Which values of a file's graph no input decides, and which of them are an initializer, as it lies or turned."""

from __future__ import annotations

import math
from collections.abc import Collection

import onnx
from onnx import helper

from temport.exporter.graph.quantised import SMALLEST
from temport.exporter.graph.standard_operator import is_standard

Turned = tuple[str, tuple[int, ...]]
"""An initializer, and which of its axes each axis of the value is."""


def large_constants_held(model: onnx.ModelProto) -> None:
    """A `Constant` of many floats becomes an initializer, in place: some exporters write every weight so."""
    given = {value.name for value in model.graph.output}
    kept = []
    for node in model.graph.node:
        held = [a.t for a in node.attribute if a.name == "value"] if is_standard(node, "Constant") else []
        float32 = bool(held) and held[0].data_type == onnx.TensorProto.FLOAT
        if float32 and node.output[0] not in given and math.prod(held[0].dims) >= SMALLEST:
            model.graph.initializer.add().CopyFrom(held[0])
            model.graph.initializer[-1].name = node.output[0]
        else:
            kept.append(node)
    if len(kept) < len(model.graph.node):
        del model.graph.node[:]
        model.graph.node.extend(kept)


def constants(model: onnx.ModelProto, initializers: Collection[str]) -> dict[str, Turned | None]:
    """Every value that initializers alone decide: the one that it is, perhaps turned, or None where it is computed.

    Axes of a value that is an initializer as it lies are `()`.
    """
    found: dict[str, Turned | None] = {name: (name, ()) for name in initializers}
    for node in model.graph.node:
        taken = [name for name in node.input if name]
        inner = any(a.HasField("g") or a.graphs for a in node.attribute)
        if inner or not (set(taken) <= found.keys() if taken else is_standard(node, "Constant")):
            continue
        found |= dict.fromkeys(node.output)
        source = found[taken[0]] if taken else None
        if source is not None and is_standard(node, "Identity"):
            found[node.output[0]] = source
        elif source is not None and is_standard(node, "Transpose"):
            perm = next(
                (tuple(helper.get_attribute_value(a)) for a in node.attribute if a.name == "perm"), None
            )
            name, axes = source
            if perm is not None:
                found[node.output[0]] = name, tuple(axes[a] for a in perm) if axes else perm
    return found
