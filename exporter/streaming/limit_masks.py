"""Masks of scores that a module spells out, limited to a window: the truth of a stream with a horizon."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.edit import initializer, named
from temport.exporter.graph.evaluate_part import Part
from temport.exporter.streaming.shapes import TIME, axes_of_time, entries


def limit_masks(
    model: ir.Model, horizon: int, declaration: Declaration, apart: Collection[ir.Node] = ()
) -> None:
    """Let every square of positions that a score goes with have for frames `horizon` or more before what it has for
    later ones, in place.

    Where several entries come with each frame, `horizon` frames are so many times as many entries.

    apart  nodes that have a window of their own: they read the square as it is, also through what is made of it
    """
    sizes = {name: axis.opt for name, axis in declaration.axes.items()} | {TIME: declaration.axes[TIME].max}
    data = _data(model)
    for mask in _masks(model, data, apart):
        assert mask.shape is not None
        rows = entries(mask.shape[axes_of_time(list(mask.shape))[-1]]) or 1
        later = Part(mask).at(sizes).reshape(-1, rows * sizes[TIME])[0, -1]
        users = [(use.node, use.idx) for use in mask.uses() if not _only_for(apart, use.node, data)]
        _limit(model.graph, mask, rows * horizon, np.asarray(later), users)


def _data(model: ir.Model) -> set[ir.Value]:
    """What is made of more than sizes."""
    data = set(model.graph.inputs)
    for node in model.graph:
        if node.op_type not in ("Shape", "Size") and any(v in data for v in node.inputs):
            data.update(node.outputs)
    return data


def _masks(model: ir.Model, data: set[ir.Value], apart: Collection[ir.Node]) -> list[ir.Value]:
    """Squares of positions that meet squares of data."""
    found: dict[ir.Value, None] = {}
    for node in model.graph:
        given = [v for v in node.inputs if v is not None]
        if node in apart or not data.issuperset(node.outputs):
            continue
        if any(v in data and _square(v) for v in given):
            found |= {v: None for v in given if v not in data and _square(v)}
    return list(found)


def _square(value: ir.Value) -> bool:
    return value.shape is not None and len(axes_of_time(list(value.shape))) == 2


def _only_for(apart: Collection[ir.Node], node: ir.Node, data: set[ir.Value]) -> bool:
    """Whether nothing but nodes of `apart` takes what this one makes of positions."""
    if node in apart or data.issuperset(node.outputs):
        return node in apart
    return all(_only_for(apart, use.node, data) for value in node.outputs for use in value.uses())


def _limit(
    graph: ir.Graph, mask: ir.Value, horizon: int, later: np.ndarray, users: list[tuple[ir.Node, int]]
) -> None:
    name, producer = named(mask, "limited"), mask.producer()
    assert producer is not None
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
