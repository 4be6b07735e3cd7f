"""How a graph is changed: new constants and nodes under names of their own, and one value in the place of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.custom_ops.domain import DOMAIN
from temport.exporter.graph.layers import keep_layer, layer_of

Size = int | ir.SymbolicDim
TO_THE_END, TO_THE_START = np.iinfo(np.int64).max, np.iinfo(np.int64).min


def named(value: ir.Value, what: str, **at: int) -> str:
    """The name of what is made of `value`, as `x/last/axis=1/count=3`.

    Names of values are unique in a graph; so is this one, if `what` is said by one pass only, and the numbers say all
    else that it depends on.
    """
    return "/".join([value.name or "", what, *(f"{key}={number}" for key, number in at.items())])


def initializer(graph: ir.Graph, name: str, array: npt.NDArray[Any]) -> ir.Value:
    """The initializer called `name` with this content, registered where the graph has none yet.

    ValueError where the graph has another constant of that name: then the name does not say what it depends on.
    """
    array = np.asarray(array, order="C")
    if name in graph.initializers:
        found = graph.initializers[name]
        held = None if found.const_value is None else found.const_value.numpy()
        if held is None or (held.dtype, held.shape, held.tobytes()) != (
            array.dtype,
            array.shape,
            array.tobytes(),
        ):
            raise ValueError(f"two different constants are called {name}")
        return found
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), const_value=tensor)
    value.shape = ir.Shape(array.shape)
    graph.register_initializer(value)
    return value


def insert(
    graph: ir.Graph,
    before: ir.Node,
    op: str,
    inputs: Sequence[ir.Value],
    shape: Sequence[Size],
    name: str,
    attributes: Mapping[str, Any] | None = None,
) -> ir.Value:
    """A new standard node with one output of this shape, in front of `before`; the dtype is the first input's, and the
    layer that of `before`."""
    output = ir.Value(name=name, type=inputs[0].type, shape=ir.Shape(shape))
    node = ir.node(op, list(inputs), attributes, outputs=[output], name=name)
    keep_layer(node, layer_of(before))
    graph.insert_before(before, node)
    return output


def cut(graph: ir.Graph, before: ir.Node, value: ir.Value, axis: int, start: int, stop: int) -> ir.Value:
    """`value[start:stop]` along one axis, in front of `before`; made once for all who ask in the order of the graph.

    A negative start counts from the end, and goes with `TO_THE_END`.
    """
    at = {"axis": axis, "start": start, **({} if stop == TO_THE_END else {"stop": stop})}
    assert value.shape is not None
    count = -start if stop == TO_THE_END else stop - start
    shape = [count if i == axis else size for i, size in enumerate(value.shape)]
    return _slice(graph, before, value, named(value, "cut", **at), (start, stop, axis), shape)


def reverse(graph: ir.Graph, before: ir.Node, value: ir.Value, axis: int) -> ir.Value:
    """`value[::-1]` along one axis, likewise."""
    assert value.shape is not None
    bounds = (-1, TO_THE_START, axis, -1)
    return _slice(graph, before, value, named(value, "reversed", axis=axis), bounds, list(value.shape))


def _slice(
    graph: ir.Graph,
    before: ir.Node,
    value: ir.Value,
    name: str,
    bounds: Sequence[int],
    shape: Sequence[Size],
) -> ir.Value:
    """Start, stop, axis and step of a `Slice`, under a name that says them."""
    for node, _ in value.uses():
        if node.graph is graph and node.outputs[0].name == name:
            return node.outputs[0]
    constants = [initializer(graph, f"bound/{n}", np.array([n])) for n in bounds]
    return insert(graph, before, "Slice", [value, *constants], shape, name)


def stand_in(
    graph: ir.Graph, node: ir.Node, op: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]
) -> ir.Node:
    """Put a `temport` node that gives the same only output in the node's place, under its name, and return it."""
    old = node.outputs[0]
    output = ir.Value(name=old.name, type=old.type, shape=old.shape)
    new = ir.node(op, list(inputs), attributes, domain=DOMAIN, outputs=[output], name=node.name)
    graph.insert_before(node, new)
    replace(graph, node, output)
    return new


def replace(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Let `value` stand for the node's only output, and take the node away."""
    put(node.outputs[0], value)
    graph.remove(node, safe=True)


def put(old: ir.Value, value: ir.Value) -> None:
    """Let `value` stand for `old`, under its name where that is an output of the graph."""
    if old.is_graph_output():
        old.name, value.name = f"{old.name}_before", old.name
    old.replace_all_uses_with(value, replace_graph_outputs=True)
