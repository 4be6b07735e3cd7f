"""A part of a graph, evaluated at chosen sizes: what it computes of positions, and where it moves things to.

What a spelling means is found out by what it gives, not by how it is written. A part holds the nodes behind a value
down to values that are given and to shapes, whose numbers come from the sizes of the axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from temport.exporter.declare.declaration import Axis
from temport.exporter.declare.sizes import normal, size
from temport.exporter.graph import traced_attention
from temport.exporter.graph.prepared_evaluator import PreparedEvaluator
from temport.exporter.graph.retyped import retyped
from temport.exporter.graph.standard_operator import RANDOM, is_standard

Sizes = Mapping[str, int]
FEW = 8
"""Of so few sizes an axis is looked at in each."""
ODD = (2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 64, 129)
"""Sizes between the ends, beside an axis' usual one and its neighbours."""


class UnknownPart(Exception):
    """The part cannot be evaluated: a size is not known, or an operator is no function of its inputs."""


def sample_sizes(axes: Mapping[str, Axis], few: bool = False) -> list[dict[str, int]]:
    """Sizes of all axes together: all of few, else ends, the usual and odd ones. `batch` stays small.

    few   for what does not depend on how long an axis is: some small sizes
    """
    each = {name: _of_axis(axis, few or name == "batch") for name, axis in axes.items()}
    count = max((len(sizes) for sizes in each.values()), default=1)
    # axes move at different speeds, so that no two always agree; in the last one all are at their ends
    rows = [
        {name: sizes[(i * (1 + n)) % len(sizes)] for n, (name, sizes) in enumerate(each.items())}
        for i in range(count)
    ]
    rows.append({name: sizes[-1] for name, sizes in each.items()})
    return [row for i, row in enumerate(rows) if row not in rows[:i]]


def _of_axis(axis: Axis, few: bool) -> list[int]:
    first = max(axis.min, 1) if axis.max else axis.min
    if few:
        return [n for n in range(first, axis.max + 1) if n == axis.max or n > 1][:3]
    if axis.max - axis.min < FEW:
        return list(range(axis.min, axis.max + 1))
    wanted = {
        axis.min,
        axis.min + 1,
        axis.opt - 1,
        axis.opt,
        axis.opt + 1,
        axis.max // 2,
        axis.max - 1,
        axis.max,
        *ODD,
    }
    return sorted(n for n in wanted if axis.min <= n <= axis.max)


def dims_at(value: ir.Value, sizes: Sizes) -> tuple[int, ...]:
    """The shape of a value; `UnknownPart` where it is not known from the axes."""
    if value.shape is None:
        raise UnknownPart(f"{value.name} has no known shape")
    return tuple(dim_at(dim, sizes) for dim in value.shape)


def dim_at(dim: int | ir.SymbolicDim, sizes: Sizes) -> int:
    if isinstance(dim, int):
        return dim
    try:
        return size(normal(str(dim.value)), sizes)
    except (ValueError, KeyError) as error:
        raise UnknownPart(f"the size {dim.value} is not known from the axes") from error


class Part:
    """What is behind `target`, down to `given`.

    data    other values that it needs and that no shape decides: inputs of the model, or what `opaque` nodes give
    double  compute in float64, whatever the graph's types are, and through attention that the trace kept whole
    """

    def __init__(self, target: ir.Value, given: Sequence[ir.Value] = (), double: bool = False) -> None:
        self.target, self.given, self.double = target, list(given), double
        self.data: list[ir.Value] = []
        self.nodes: list[ir.Node] = []
        self._shapes: list[ir.Node] = []
        self._constants: dict[ir.Value, None] = {}
        self._collect()

    def _collect(self) -> None:
        """Nodes in their order; a stack of their own, since graphs are deeper than Python recurses."""
        done: set[Any] = set(self.given)
        stack: list[tuple[ir.Value, bool]] = [(self.target, False)]
        while stack:
            value, ready = stack.pop()
            node = value.producer()
            if ready:
                assert node is not None
                if node not in done:
                    done.add(node)
                    self.nodes.append(node)
                continue
            if value in done:
                continue
            done.add(value)
            if value.const_value is not None:
                self._constants[value] = None
            elif node is None or not self._knows(node) or node.op_type in RANDOM or _holds_graphs(node):
                self.data.append(value)
            elif node.op_type in ("Shape", "Size"):
                self._shapes.append(node)
            else:
                stack.append((value, True))
                stack += [(v, False) for v in reversed(node.inputs) if v is not None]

    def _knows(self, node: ir.Node) -> bool:
        return is_standard(node) or (self.double and node.domain == traced_attention.DOMAIN)

    def at(self, sizes: Sizes, feeds: Sequence[npt.NDArray[Any]] = ()) -> npt.NDArray[Any]:
        """The value at these sizes, for what is given in its order."""
        if self.data:
            raise UnknownPart(f"it depends on {self.data[0].name}")
        if self.target in self.given:
            return feeds[self.given.index(self.target)]
        if self.target.const_value is not None:
            return np.asarray(self.target.const_value.numpy())
        fed = {value.name or "": array for value, array in zip(self.given, feeds, strict=True)}
        for node in self._shapes:
            fed[node.outputs[0].name or ""] = _shape(node, sizes)
        try:
            result: Any = self._evaluator.run(None, fed)
        except Exception as error:
            raise UnknownPart(f"it cannot be evaluated ({error})") from error
        return np.asarray(result[0])

    @cached_property
    def _evaluator(self) -> PreparedEvaluator:
        def info(value: ir.Value) -> onnx.ValueInfoProto:
            return onnx.helper.make_tensor_value_info(value.name or "", int(value.dtype or 1), None)

        inputs = [*self.given, *(node.outputs[0] for node in self._shapes)]
        constants = [
            onnx.numpy_helper.from_array(value.const_value.numpy(), value.name)
            for value in self._constants
            if value.const_value is not None
        ]
        graph = onnx.helper.make_graph(
            [ir.serde.serialize_node(node) for node in self.nodes],
            "part",
            [info(value) for value in inputs],
            [info(self.target)],
            constants,
        )
        graph_of = self.nodes[0].graph if self.nodes else None
        opset = graph_of.opset_imports.get("", 18) if isinstance(graph_of, ir.Graph) else 18
        opsets = {"": opset, traced_attention.DOMAIN: traced_attention.VERSION}
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid(*item) for item in opsets.items()]
        )
        if self.double:
            model = retyped(model, onnx.TensorProto.DOUBLE)
        return PreparedEvaluator(model, new_ops=[traced_attention.TracedAttention])


def of_positions(value: ir.Value) -> bool:
    """Whether a value depends on nothing but sizes, and is not a constant already."""
    return value.const_value is None and not Part(value).data


def walk_back(value: ir.Value) -> Iterator[ir.Value]:
    """The value, and what each standard node behind it takes first, as far as there is one."""
    current: ir.Value | None = value
    while current is not None:
        yield current
        node = current.producer()
        current = node.inputs[0] if node is not None and node.inputs else None


def _shape(node: ir.Node, sizes: Sizes) -> npt.NDArray[np.int64]:
    value = node.inputs[0]
    assert value is not None
    dims = dims_at(value, sizes)
    if node.op_type == "Size":
        return np.array(np.prod(dims), np.int64)
    bounds = [
        node.attributes[name].as_int() if name in node.attributes else None for name in ("start", "end")
    ]
    return np.array(dims[slice(*bounds)], np.int64)


def _holds_graphs(node: ir.Node) -> bool:
    return any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())
