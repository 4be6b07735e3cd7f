"""Let the graph itself refuse a sequence longer than declared.

What is baked for the longest sequence (a mask, an encoding, the taps of an average) says nothing about later
frames, and not every runtime notices: a convolution whose taps end early returns numbers. So each input of a
dynamic length is reshaped to its own sizes, a length to no more than its maximum. Within the contract that renames
nothing and moves nothing; beyond it the sizes do not multiply to the number of elements, which no runtime accepts.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.declaration import Axis, Declaration, TensorSpec
from exporter.passes.initializers import initializer

NO_LIMIT = np.iinfo(np.int64).max


def limit_lengths(model: ir.Model, declaration: Declaration) -> None:
    """Put the check behind every input with a dynamic length, in place; its node says what the maximum is."""
    for value, spec in zip(model.graph.inputs, declaration.inputs, strict=True):
        limited = [axis for axis in spec.axes() if not axis.static and axis.name != "batch"]
        if limited and value.uses():
            _limit(model.graph, value, spec, ",".join(f"{axis.name}<={axis.max}" for axis in limited))


def _limit(graph: ir.Graph, value: ir.Value, spec: TensorSpec, rule: str) -> None:
    uses = list(value.uses())
    most = [NO_LIMIT if isinstance(d, Axis) and d.name == "batch" else _most(d) for d in spec.shape]
    name = f"{value.name}/{rule}"
    limits = initializer(graph, f"{name}/limits", np.array(most, np.int64))
    shape = ir.node("Shape", [value], name=f"{name}/shape")
    allowed = ir.node("Min", [shape.outputs[0], limits], name=f"{name}/allowed")
    checked = ir.Value(name=name, type=value.type, shape=value.shape)
    reshape = ir.node("Reshape", [value, allowed.outputs[0]], outputs=[checked], name=name)
    for made, part in ((shape, "shape"), (allowed, "allowed")):
        made.outputs[0].name = f"{name}/{part}"
        made.outputs[0].type = ir.TensorType(ir.DataType.INT64)
        made.outputs[0].shape = ir.Shape([len(most)])
    graph.insert_before(graph[0], [shape, allowed, reshape])
    for node, index in uses:
        node.replace_input_with(index, checked)


def _most(size: Axis | int) -> int:
    return size.max if isinstance(size, Axis) else size
