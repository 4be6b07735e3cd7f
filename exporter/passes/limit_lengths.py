"""Let the graph itself refuse a sequence longer or shorter than declared.

What is baked for the longest sequence (a mask, an encoding, the taps of an average) says nothing about later
frames, and what is pruned counts on the frames of the shortest; not every runtime notices: a convolution whose taps
end early returns numbers, and rows of short sequences join to fewer whole ones. So each input of a dynamic length
is reshaped to its own sizes, the length raised or lowered to its nearest declared value. Within the contract that
renames nothing and moves nothing; beyond it the sizes do not multiply to the number of elements, which no runtime
accepts.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.exporter.declare.declaration import Axis, Declaration
from temport.exporter.graph.edit import initializer

NO_LIMIT = np.iinfo(np.int64).max


def limit_lengths(model: ir.Model, declaration: Declaration) -> bool:
    """Put a check behind every input for each dynamic length it has, in place; its node names the range.

    False where every length is fixed.
    """
    found = False
    first = model.graph[0]
    for value, spec in zip(model.graph.inputs, declaration.inputs, strict=True):
        checked = value
        # one check for each place: in a common one a length too long could make up for another too short
        for place, axis in enumerate(spec.shape):
            if isinstance(axis, Axis) and not axis.static and axis.name != "batch" and checked.uses():
                checked = _limit(model.graph, first, checked, place, axis)
                found = True
    return found


def _limit(graph: ir.Graph, first: ir.Node, value: ir.Value, place: int, axis: Axis) -> ir.Value:
    """The checked `value`, which every node from `first` on reads in its place."""
    assert value.shape is not None
    uses = list(value.uses())
    name = f"{value.name}/{axis.min}<={axis.name}<={axis.max}"
    shape = ir.node("Shape", [value], name=f"{name}/shape")
    nodes = [shape]
    bounds = [("Min", axis.max, NO_LIMIT)]
    if axis.min > 1:  # of no frames at all, a model fails by itself or gives what torch gives
        bounds.append(("Max", axis.min, 0))
    for op, bound, none in bounds:
        sizes = np.full(len(value.shape), none, np.int64)
        sizes[place] = bound
        part = f"{name}/{op.lower()}"
        nodes.append(
            ir.node(op, [nodes[-1].outputs[0], initializer(graph, f"{part}_sizes", sizes)], name=part)
        )
    for node in nodes:
        node.outputs[0].name = node.name
        node.outputs[0].type = ir.TensorType(ir.DataType.INT64)
        node.outputs[0].shape = ir.Shape([len(value.shape)])
    checked = ir.Value(name=name, type=value.type, shape=value.shape)
    reshape = ir.node("Reshape", [value, nodes[-1].outputs[0]], outputs=[checked], name=name)
    graph.insert_before(first, [*nodes, reshape])
    for node, index in uses:
        node.replace_input_with(index, checked)
    return checked
