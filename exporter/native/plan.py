"""The plan of an engine: where every tensor lies, and the code that computes it, node by node."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import onnx_ir as ir

from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph import operators
from temport.exporter.graph.layers import layer_of
from temport.exporter.native.blob import Blob
from temport.exporter.native.call import Call, Form
from temport.exporter.native.isa import Isa
from temport.exporter.native.memory import Scratch, aligned
from temport.exporter.native.sizes import Size, fixed, product, size_of
from temport.exporter.native.tensors import BYTES, TYPES, NoForm, State, Tensor


class Plan:
    """Takes a graph apart into places and code.

    lines      the body of the engine's `run`
    constants  C++ expressions -> the names that the source has them under
    work       C++ expressions, constants: how many floats of memory of its own each kernel needs that asks for some
    weights    bytes that layers read, by element type
    states     of a step model, in the order of its signature
    threads    into how many parts the layers are shared that are worth it
    """

    def __init__(
        self, graph: ir.Graph, declaration: Declaration, isa: Isa, forms: Mapping[str, Form], threads: int = 1
    ) -> None:
        self.isa, self.threads = isa, threads
        self.ranges = {n: (axis.min, axis.max) for n, axis in declaration.axes.items()}
        self.blob, self.scratch = Blob(), Scratch()
        self.state_bytes = 0
        self.lines: list[str] = []
        self.constants: dict[str, str] = {}
        self.work: list[str] = []
        self.weights: Counter[str] = Counter()
        self._tensors: dict[ir.Value, Tensor] = {}
        self._names: set[str] = set()
        self._until = _last_uses(graph)
        self._step = 0
        self._before = {v.name: v for v in graph.inputs}
        self._next = dict(declaration.states)
        self._previous = {after: before for before, after in declaration.states}
        self._states: dict[str, State] = {}
        self._last_lines: list[str] = []
        given = [value for value in graph.inputs if value.name not in self._next]
        asked = [value for value in graph.outputs if value.name not in self._previous]
        if idle := [value.name or "" for value in graph.outputs if value.producer() is None]:
            raise UserError(f"--target native cannot take outputs that no node computes: {', '.join(idle)}")
        try:
            for index, value in enumerate(given):
                self._place(value, f"static_cast<const {{}}*>(inputs[{index}])")
            for index, value in enumerate(asked):
                self._place(value, f"static_cast<{{}}*>(outputs[{index}])")
        except NoForm as error:
            raise UserError(f"--target native cannot take the model's inputs and outputs: {error}") from error
        for self._step, node in enumerate(graph):
            try:
                forms[node.op_type](Call(self, node))
            except NoForm as error:
                where = layer_of(node) or node.name
                raise UserError(f"--target native cannot take {node.op_type} in {where}: {error}") from error
        for name in self._next:
            self.tensor(self._before[name])
        self.lines += self._last_lines

    @property
    def states(self) -> tuple[State, ...]:
        return tuple(self._states[name] for name in self._next)

    def tensor(self, value: ir.Value) -> Tensor:
        """Where a value lies that was computed or given."""
        if value in self._tensors:
            return self._tensors[value]
        if value.const_value is not None:
            array = value.const_value.numpy()
            kind = self._type(value)
            self._tensors[value] = Tensor(
                lambda: f"weight<{kind}>({self.blob.add(array)})", kind, tuple(map(fixed, array.shape)), array
            )
        elif value.name in self._next:
            size = self._sized(value)
            offset = self.reserve(size.bytes)
            row = product(size.shape[1:])
            self._states[value.name] = State(
                value.name,
                f"at<{size.type}>(memory, {offset}) + entry * {row}",
                f"copy(row, {row}, place);",
                f"copy(place, {row}, row);",
            )
            self._place(value, f"at<{{}}>(memory, {offset})")
        else:
            raise NoForm(f"{value.name} is read before anything computes it")
        return self._tensors[value]

    def output(self, value: ir.Value) -> Tensor:
        """Where a value is to be written: the caller's memory, the state, or scratch memory."""
        if value in self._tensors:
            return self._tensors[value]
        before = self._before.get(self._previous.get(value.name or "", ""))
        if before is not None and self._until.get(before, -1) < self._step:
            self._tensors[value] = self.tensor(before)
            return self._tensors[value]
        size = self._sized(value)
        until = self._until[value] if before is None else _EVER
        self._place(value, f"at<{{}}>(scratch, {self.scratch.take(size.bytes, self._step, until)})")
        made = self._tensors[value]
        if before is not None:
            self._last_lines.append(f"copy({made.code}, {made.elements}, {self.tensor(before).code});")
        return made

    def alias(self, value: ir.Value, source: Tensor) -> None:
        """`value` has the elements of `source` in another shape; they are copied where it has a place of its own."""
        if value in self._tensors or value.name in self._previous:
            to = self.output(value)
            self.lines.append(f"copy({source.code}, {to.elements}, {to.code});")
        else:
            shape = self.shape(value)
            whole = source.value is not None and all(size.fixed for size in shape)
            known = (
                source.value.reshape([size.most for size in shape])
                if whole and source.value is not None
                else None
            )
            self._tensors[value] = Tensor(source.place, source.type, shape, known)

    def keep(self, before: ir.Value, after: ir.Value, *, entry: int, load: str, store: str) -> int:
        """A layout of its own for the state that comes in as `before` and goes out as `after`: the offset of its bytes,
        `entry` for each entry of the batch behind the other. `load` and `store` are as in `State`. `NoForm` where
        anything else sees it.
        """
        name = before.name or ""
        if self._next.get(name) != after.name or len(before.uses()) != 1 or after.uses():
            raise NoForm("its cache is no state of the model, or something else reads it")
        offset = self.reserve(self.shape(before)[0].most * entry)
        place = f"at<{self._type(before)}>(memory, {offset} + entry * {entry})"
        self._states[name] = State(name, place, load, store)
        self._tensors[before] = self._tensors[after] = Tensor("", "", ())
        return offset

    def reserve(self, size: int) -> int:
        """The offset of so many bytes in the memory of an instance, which live from run to run."""
        offset = self.state_bytes
        self.state_bytes += aligned(size)
        return offset

    def room(self, kind: str, elements: Size) -> str:
        """Scratch memory for the node at hand alone."""
        return (
            f"at<{kind}>(scratch, {self.scratch.take(elements.most * BYTES[kind], self._step, self._step)})"
        )

    def constant(self, code: str) -> str:
        """The name of a constant of the source; equal ones are one."""
        return self.constants.setdefault(code, f"kPlan{len(self.constants)}")

    def workspace(self, floats: str, caller: str = "") -> str:
        """Memory for the node at hand alone, of a size that depends on vectors: only the C++ source knows it.

        caller  as `caller` gives it: each part of a shared node has memory of its own
        """
        self.work.append(f"{self.threads} * part_floats({floats})" if caller else floats)
        return "work"

    def caller(self, operations: int) -> str:
        """The first argument of a kernel of at most so many multiply-adds, where the caller's threads share it."""
        return "caller, " if self.threads > 1 and operations >= _WORTH_SHARING else ""

    def shape(self, value: ir.Value) -> tuple[Size, ...]:
        """The sizes of a value's axes; `NoForm` where one does not follow from the open axes."""
        if value.shape is None:
            raise NoForm(f"the shape of {value.name} is not known")
        found = []
        for dim in value.shape:
            size = size_of(dim, self.ranges)
            if size is None:
                raise NoForm(f"the size {dim} of {value.name} does not follow from the open axes")
            found.append(size)
        return tuple(found)

    def _sized(self, value: ir.Value) -> Tensor:
        return Tensor("", self._type(value), self.shape(value))

    def _type(self, value: ir.Value) -> str:
        if value.dtype not in TYPES:
            raise NoForm(f"{value.name} has element type {value.dtype}")
        return TYPES[value.dtype][0]

    def _place(self, value: ir.Value, code: str) -> None:
        """Declares a pointer to a value; `{}` in `code` is its element type."""
        sized = self._sized(value)
        # the prefix makes it no word of C++, and no name of a kernel
        name = "t_" + re.sub(r"\W+", "_", value.name or "").strip("_")
        while name in self._names:
            name += "_"
        self._names.add(name)
        self.lines.append(f"[[maybe_unused]] auto* const {name} = {code.format(sized.type)};")
        self._tensors[value] = Tensor(name, sized.type, sized.shape)


_EVER = 1 << 30
_WORTH_SHARING = 1 << 18
"""Multiply-adds that take longer, about 10 us on one core, than handing parts to other threads and waiting for them."""


def _last_uses(graph: ir.Graph) -> dict[ir.Value, int]:
    """The last step that reads each value, or a value that has its elements."""
    until: dict[ir.Value, int] = {}
    nodes = list(graph)
    for step, node in enumerate(nodes):
        for value in node.outputs:
            until.setdefault(value, step)
        for used in node.inputs:
            if used is not None:
                until[used] = step
    for node in reversed(nodes):
        if operators.of(node).renames or node.op_type == "Identity":
            source = node.inputs[0]
            assert source is not None
            until[source] = max(until[source], until[node.outputs[0]])
    return until
