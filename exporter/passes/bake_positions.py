"""What positions add to scores, or select of them, is a constant: a table of the longest length, sliced to the shape.

ALiBi, distances, any mask that depends on lengths alone: the nodes that compute it are evaluated at the longest length
and at others, and where each is the beginning of the longest, the table stands in their place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph import operators
from temport.exporter.graph.edit import initializer
from temport.exporter.graph.evaluate_part import Part, Sizes, UnknownPart, dims_at, of_positions, sample_sizes
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.passes.notes import Notes

NAME = "bake_positions"
LARGEST = 2**26
"""Bytes of a table that is baked."""


def bake_positions(model: ir.Model, declaration: Declaration, notes: Notes | None = None) -> bool:
    """Rewrite `model` in place; False where no softmax takes anything that is computed from positions."""
    samples = sample_sizes(declaration.axes)
    longest = {name: 2 if name == "batch" else axis.max for name, axis in declaration.axes.items()}
    changed = False
    for softmax in [node for node in model.graph if is_standard(node, "Softmax")]:
        for value in list(_of_positions(softmax)):
            try:
                _bake(model.graph, value, samples, longest)
                changed = True
            except _StaysError as reason:
                if notes is not None:
                    notes.add(NAME, softmax, f"takes scores under a table that the graph computes: {reason}")
    if changed:
        common.RemoveUnusedNodesPass()(model)
    return changed


class _StaysError(Exception):
    """Why a table stays computed."""


def _of_positions(softmax: ir.Node) -> Iterator[ir.Value]:
    """Tables that depend on sizes alone, the largest such part of what the scores are made of by element."""
    pending, seen = [v for v in softmax.inputs if v is not None], set()
    while pending:
        value = pending.pop()
        node = value.producer()
        if value in seen or node is None or value.const_value is not None:
            continue
        seen.add(value)
        of_batch = any("batch" in str(dim) for dim in value.shape or ())
        if not of_batch and len(value.shape or ()) >= 2 and of_positions(value):
            yield value
        elif operators.of(node).elementwise or operators.of(node).moves:
            pending += [v for v in node.inputs if v is not None]


def _bake(graph: ir.Graph, value: ir.Value, samples: list[dict[str, int]], longest: Sizes) -> None:
    assert value.shape is not None
    ends = {axis: dim for axis, dim in enumerate(value.shape) if not isinstance(dim, int)}
    part = Part(value)
    try:
        table = part.at(longest)
        for sizes in samples:
            cut = tuple(slice(size) for size in dims_at(value, sizes))
            if not np.array_equal(part.at(sizes), table[cut]):
                raise _StaysError("a shorter one is not the beginning of a longer one")
    except UnknownPart as error:
        raise _StaysError(str(error)) from error
    if table.nbytes > LARGEST:
        raise _StaysError(f"it would take {table.nbytes / 1e6:.0f} MB")
    baked = _table(graph, table)
    for axis, dim in ends.items():
        baked = _sliced(graph, baked, axis, dim)
    value.replace_all_uses_with(baked)


def _table(graph: ir.Graph, table: npt.NDArray[np.generic]) -> ir.Value:
    """The constant, one for all who need the same."""
    digest = hashlib.sha256(table.tobytes()).hexdigest()[:12]
    sizes = "x".join(str(size) for size in table.shape)
    return initializer(graph, f"positions/{table.dtype}_{sizes}_{digest}", table)


def _sliced(graph: ir.Graph, table: ir.Value, axis: int, dim: ir.SymbolicDim) -> ir.Value:
    """The beginning of `table` along one axis, as long as an input of the graph is there."""
    name = f"{table.name}/to_{dim.value}_on_{axis}"
    for node, _ in table.uses():
        if node.outputs[0].name == name:
            return node.outputs[0]
    found = [(v, i) for v in graph.inputs for i, size in enumerate(v.shape or ()) if size == dim]
    if not found:
        raise _StaysError(f"its size {dim.value} is no axis of an input")
    given, place = found[0]
    integers = ir.TensorType(ir.DataType.INT64)
    end = ir.Value(name=f"{name}/end", type=integers, shape=ir.Shape([1]))
    shape = ir.node("Shape", [given], {"start": place, "end": place + 1}, outputs=[end], name=end.name)
    bounds = [initializer(graph, f"bound/{n}", np.array([n])) for n in (0, axis)]
    assert table.shape is not None
    sizes = [dim if i == axis else size for i, size in enumerate(table.shape)]
    part = ir.Value(name=name, type=table.type, shape=ir.Shape(sizes))
    slicing = ir.node("Slice", [table, bounds[0], end, bounds[1]], outputs=[part], name=name)
    after = table.producer()
    if after is None:
        graph.insert_before(graph[0], [shape, slicing])
    else:
        graph.insert_after(after, [shape, slicing])
    return part
