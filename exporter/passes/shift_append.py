"""`Concat(Slice(cache, 1:), newest)` as one `ShiftAppend`."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from exporter.passes.projection import stand_in

ENTRIES = 1
"""The axis of a cache along which its entries lie."""


def shift_append(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where nothing shifts."""
    graph = model.graph
    found = [(node, cache) for node in list(graph) if (cache := _shifted_cache(node)) is not None]
    for node, cache in found:
        stand_in(graph, node, "ShiftAppend", [cache, node.inputs[1]], {})
    if found:
        common.RemoveUnusedNodesPass()(model)
    return bool(found)


def _shifted_cache(node: ir.Node) -> ir.Value | None:
    """The cache behind a concatenation of all its entries but the first with one new entry; float32 only."""
    if node.domain not in ("", "ai.onnx") or node.op_type != "Concat" or len(node.inputs) != 2:
        return None
    kept, newest = node.inputs
    cut = kept.producer() if kept is not None else None
    if newest is None or newest.shape is None or cut is None or cut.op_type != "Slice" or len(cut.inputs) < 4:
        return None
    cache = cut.inputs[0]
    starts, _, axes = (_integer(v) for v in cut.inputs[1:4])
    steps = cut.inputs[4] if len(cut.inputs) > 4 else None
    if cache is None or cache.shape is None or kept is None or kept.shape is None:
        return None
    shifts = (
        node.attributes["axis"].as_int() == axes == ENTRIES
        and cache.dtype == ir.DataType.FLOAT
        and starts == 1
        and (steps is None or _integer(steps) == 1)
        and newest.shape[ENTRIES] == 1
        and isinstance(entries := cache.shape[ENTRIES], int)
        and kept.shape[ENTRIES] == entries - 1
    )
    return cache if shifts else None


def _integer(value: ir.Value | None) -> int | None:
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None
    return int(value.const_value.numpy().reshape(()))
