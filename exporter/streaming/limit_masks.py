"""Masks of scores that a module spells out, limited to a window: the truth of a stream with a horizon."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.edit import initializer, named
from temport.exporter.graph.evaluate_part import Part
from temport.exporter.streaming.shapes import TIME, axes_of_time


def limit_masks(model: ir.Model, horizon: int, declaration: Declaration) -> None:
    """Let every square of positions that a score goes with have for frames `horizon` or more before what it has for
    later ones, in place.
    """
    sizes = {name: axis.opt for name, axis in declaration.axes.items()} | {TIME: declaration.axes[TIME].max}
    for mask in _masks(model):
        later = Part(mask).at(sizes).reshape(-1, sizes[TIME])[0, -1]
        _limit(model.graph, mask, horizon, np.asarray(later))


def _masks(model: ir.Model) -> list[ir.Value]:
    """Squares of positions that meet squares of data."""
    data = set(model.graph.inputs)
    found: dict[ir.Value, None] = {}
    for node in model.graph:
        given = [v for v in node.inputs if v is not None]
        if node.op_type in ("Shape", "Size") or not any(v in data for v in given):
            continue
        data.update(node.outputs)
        if any(v in data and _square(v) for v in given):
            found |= {v: None for v in given if v not in data and _square(v)}
    return list(found)


def _square(value: ir.Value) -> bool:
    return value.shape is not None and len(axes_of_time(list(value.shape))) == 2


def _limit(graph: ir.Graph, mask: ir.Value, horizon: int, later: np.ndarray) -> None:
    name, producer = named(mask, "limited"), mask.producer()
    assert producer is not None
    users = [(use.node, use.idx) for use in mask.uses()]
    one = initializer(graph, f"{name}/is_seen", np.array([True]))
    age = initializer(graph, f"{name}/oldest", np.array(1 - horizon, np.int64))
    other = initializer(graph, f"{name}/later", later)
    shape = ir.node("Shape", [mask])
    every = ir.node("Expand", [one, shape.outputs[0]])
    seen = ir.node("Trilu", [every.outputs[0], age], {"upper": 1})
    limited = ir.node("Where", [seen.outputs[0], mask, other])
    nodes = (shape, every, seen, limited)
    for node in nodes:
        node.outputs[0].name = f"{name}/{node.op_type.lower()}"
    graph.insert_after(producer, nodes)
    for user, place in users:
        user.replace_input_with(place, limited.outputs[0])
