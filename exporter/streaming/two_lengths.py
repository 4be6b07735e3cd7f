"""Traces of a module at two lengths, in which its loops over frames are unrolled, say one graph of any length.

The loops are rolled up, and nodes compared one by one. Where the traces have two sizes, or two numbers in what is
computed of sizes, these have to follow the length by a factor and a sum; a constant that is as long as the sequence is
refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from temport.exporter.declare.declaration import Axis, Declaration
from temport.exporter.declare.sizes import names, normal, size
from temport.exporter.graph.edit import initializer
from temport.exporter.streaming.loops import Unequal, roll_loop
from temport.exporter.streaming.open_sizes import spelled_sum
from temport.exporter.streaming.refusal import described
from temport.exporter.streaming.shapes import TIME
from temport.exporter.trace.clean import clean
from temport.exporter.trace.fold_constants import fold_constants
from temport.exporter.trace.output_axes import outputs_of
from temport.exporter.trace.trace import Traced

LENGTHS = (11, 13, 17, 19)
"""Of sequences that are traced, two of them: no usual size of anything else."""
FEW = 64
"""Numbers of a constant that may be computed of sizes."""


def lengths_to_compare(axis: Axis) -> list[int]:
    """Two of them, where it has as many."""
    return [n for n in LENGTHS if axis.min <= n <= axis.max][:2]


def of_any_length(
    traced: Sequence[Traced], lengths: Sequence[int], declaration: Declaration
) -> Traced | None:
    """The graph of a module by what it is at each of two lengths; None where it has no loop over its frames, `Unequal`
    where that is another one at another frame or length."""
    one, two = (t.model for t in traced)
    for model, frames in zip((one, two), lengths, strict=True):
        loops = 0
        while roll_loop(model, frames):
            loops += 1
        if not loops:
            return None
    model = _Compared(one, lengths, declaration).with_second(two)
    outputs = outputs_of(model, declaration)
    fold_constants(model)
    clean(model)
    return Traced(model, (), traced[0].weights, outputs)


class _Compared:
    """A graph of one length, whose sizes become expressions by what a graph of another length has in their place."""

    def __init__(self, model: ir.Model, lengths: Sequence[int], declaration: Declaration) -> None:
        self.model, self.lengths, self.declaration = model, lengths, declaration
        self.same: dict[ir.Value, ir.Value] = {}
        self.computed: dict[tuple[ir.Value, ir.Value], ir.Value] = {}
        self.length: ir.Value | None = None

    def with_second(self, other: ir.Model) -> ir.Model:
        one, two = self.model.graph, other.graph
        for value, seen, spec in zip(one.inputs, two.inputs, self.declaration.inputs, strict=True):
            self.same[value] = seen
            value.shape = ir.Shape(spec.onnx_shape())
        self._compare(one, two, inside=False)
        if [self.same.get(v) for v in one.outputs] != list(two.outputs):
            raise Unequal("it gives something else for more frames")
        return self.model

    def _compare(self, one: ir.Graph, two: ir.Graph, inside: bool) -> None:
        nodes, others = list(one), list(two)
        if len(nodes) != len(others):
            raise Unequal("it has more of something else than of its loop for more frames")
        for node, other in zip(nodes, others, strict=True):
            if _kind(node) != _kind(other):
                raise Unequal(f"it does something else for more frames in {described(node)}")
            for place, (value, seen) in enumerate(zip(node.inputs, other.inputs, strict=True)):
                self._input(node, place, value, seen, inside)
            for name, attribute in node.attributes.items():
                if attribute.type == ir.AttributeType.GRAPH:
                    body, its = attribute.as_graph(), other.attributes[name].as_graph()
                    self.same |= dict(zip(body.inputs, its.inputs, strict=True))
                    self._compare(body, its, inside=True)
            for value, seen in zip(node.outputs, other.outputs, strict=True):
                self.same[value] = seen
                if not inside and value.shape is not None and seen.shape is not None:
                    dims = zip(value.shape, seen.shape, strict=True)
                    value.shape = ir.Shape([self._size(node, a, b) for a, b in dims])

    def _input(
        self, node: ir.Node, place: int, value: ir.Value | None, seen: ir.Value | None, inside: bool
    ) -> None:
        if value is None or seen is None:
            if value is not seen:
                raise Unequal(f"{described(node)} takes something else for more frames")
        elif value.const_value is not None and seen.const_value is not None:
            one, two = (np.asarray(v.const_value.numpy()) for v in (value, seen) if v.const_value is not None)
            if one.dtype == two.dtype and np.array_equal(one, two):
                return
            counts = one.shape == two.shape and one.dtype == two.dtype == np.int64 and one.size <= FEW
            if inside or not counts:
                raise Unequal(f"{described(node)} takes a constant that is as long as the frames are many")
            node.replace_input_with(place, self._number(node, value, one, two))
        elif self.same.get(value) is not seen:
            raise Unequal(f"{described(node)} takes something else for more frames")

    def _number(self, node: ir.Node, value: ir.Value, one: np.ndarray, two: np.ndarray) -> ir.Value:
        """Whole numbers by the length, computed of it."""
        factor, left = np.divmod(two - one, self.lengths[1] - self.lengths[0])
        if left.any():
            raise Unequal(f"{described(node)} takes a number that does not follow that of the frames")
        graph, name = self.model.graph, f"{node.name}/{value.name}/by_length"
        more = one - factor * self.lengths[0]
        parts = [
            initializer(graph, f"{name}/{what}", array)
            for what, array in (("factor", factor), ("more", more))
        ]
        product = ir.node("Mul", [self._frames(), parts[0]])
        result = ir.node("Add", [product.outputs[0], parts[1]])
        made = [product, result]
        if not one.ndim:
            made.append(ir.node("Squeeze", [result.outputs[0]]))
        for new in made:
            new.outputs[0].name, new.outputs[0].type = f"{name}/{new.op_type.lower()}", value.type
        made[-1].outputs[0].shape = ir.Shape(one.shape)
        graph.insert_before(node, made)
        return made[-1].outputs[0]

    def _frames(self) -> ir.Value:
        """The length, int64 `[1]`."""
        if self.length is None:
            places = [(v, list(v.shape or ())) for v in self.model.graph.inputs]
            value, axis = next(
                (v, i)
                for v, dims in places
                for i, d in enumerate(dims)
                if str(getattr(d, "value", "")) == TIME
            )
            node = ir.node("Shape", [value], {"start": axis, "end": axis + 1})
            self.length = node.outputs[0]
            self.length.name, self.length.type = f"{value.name}/frames", ir.TensorType(ir.DataType.INT64)
            self.length.shape = ir.Shape([1])
            self.model.graph.insert_before(self.model.graph[0], node)
        return self.length

    def _size(
        self, node: ir.Node, one: int | ir.SymbolicDim, two: int | ir.SymbolicDim
    ) -> int | ir.SymbolicDim:
        if isinstance(one, int) and isinstance(two, int):
            return self._expression(node, one, two, TIME)
        if isinstance(one, int) or isinstance(two, int) or one.value is None or two.value is None:
            return ir.SymbolicDim(None)
        if one.value == two.value:
            return one
        (first, of), (second, _) = _times(str(one.value)), _times(str(two.value))
        found = self._expression(node, first, second, f"{of}*{TIME}")
        return found if of else ir.SymbolicDim(None)

    def _expression(self, node: ir.Node, one: int, two: int, name: str) -> int | ir.SymbolicDim:
        factor, left = divmod(two - one, self.lengths[1] - self.lengths[0])
        more = one - factor * self.lengths[0]
        if left or (more and name != TIME):
            raise Unequal(f"{described(node)} gives more for more frames, but not as many")
        return ir.SymbolicDim(normal(spelled_sum(factor, name, more))) if factor else one


def _times(text: str) -> tuple[int, str]:
    """The factor and the name of a size like `4*batch`; no name where it is another one."""
    found = sorted(names(normal(text)))
    if len(found) != 1:
        return 1, ""
    once, twice = (size(normal(text), {found[0]: n}) for n in (1, 2))
    return (once, found[0]) if twice == 2 * once else (1, "")


def _kind(node: ir.Node) -> tuple[object, ...]:
    attributes = sorted(
        (a.name, str(a.value.numpy().tolist() if a.type == ir.AttributeType.TENSOR else a.value))
        for a in node.attributes.values()
        if a.type != ir.AttributeType.GRAPH
    )
    return node.domain, node.op_type, len(node.inputs), len(node.outputs), tuple(attributes)
