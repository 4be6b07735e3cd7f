"""The graph of one frame while it is made: values of the sequence graph and what stands for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.declare.declaration import AFTER, BEFORE, FRAMES, Declaration
from temport.exporter.graph.edit import initializer
from temport.exporter.streaming.half_rings import HALF, STAY
from temport.exporter.streaming.refusal import NotCausal, described, layer_name
from temport.exporter.streaming.shapes import TIME, Size, extra, of_one_frame
from temport.exporter.streaming.status import Fixed, Last, Late, Status, Timed


@dataclass(frozen=True)
class State:
    """A tensor that is carried: an input of the step graph, and what it is after the frame.

    of      of what it holds the last `frames` entries before this one's; None: it is made of all of them
    """

    name: str
    before: ir.Value
    after: ir.Value
    of: ir.Value | None = None
    frames: int = 0


class Step:
    """What a rule works on: it reads statuses and values of a node's inputs, adds nodes, and gives its outputs.

    declaration  of sequences; the axis of time is called `seq`
    horizon      frames that attention without a window keeps
    batch        of the streams: how many rows every state has
    """

    def __init__(self, model: ir.Model, declaration: Declaration, horizon: int) -> None:
        self.declaration, self.horizon = declaration, horizon
        self.graph = ir.Graph(
            [], [], nodes=[], opset_imports=dict(model.graph.opset_imports), name=model.graph.name
        )
        self.states: list[State] = []
        self.uses_horizon = False
        self.in_front = 0
        """Entries in front of the frames that such attention sees too, beside the horizon."""
        self.kept = 0
        """Frames of the longest ring."""
        self.limits: list[tuple[int, str]] = []
        """For how many frames a stream gives what the model gives, and what happens then."""
        self.halves: list[str] = []
        """Attention, by its output in the graph of sequences, whose rings are float16."""
        self.told: list[str] = []
        """What else there is to say of the stream."""
        self._values: dict[ir.Value, ir.Value] = {}
        self._statuses: dict[ir.Value, Status] = {}
        self.in_frame: dict[tuple[ir.Value, int, str], ir.Value] = {}
        """What values of sizes alone are in a frame, by their delay and the sizes that they go with."""
        self._held: dict[tuple[ir.Value, int], ir.Value] = {}
        self._names: set[str] = set()
        first = declaration.inputs[0].onnx_shape()[0]
        self.batch: Size = 1 if first == TIME else ir.SymbolicDim(first) if isinstance(first, str) else first

    # what is known of the sequence graph

    def status(self, value: ir.Value) -> Status:
        return Fixed() if value.const_value is not None else self._statuses[value]

    def timed(self, node: ir.Node) -> list[ir.Value]:
        """The inputs that have an axis of frames."""
        return [v for v in node.inputs if v is not None and isinstance(self.status(v), Timed)]

    def extra(self, node: ir.Node, value: ir.Value) -> int:
        """How many more entries than frames a value of status `Timed` has; of several for each frame, whole frames."""
        status = self.status(value)
        assert isinstance(status, Timed) and value.shape is not None
        found = self.more(node, value)
        if found % status.rows:
            self.refuse(
                node, f"has {value.shape[status.axis]} entries along time, not {status.rows} for each frame"
            )
        return found // status.rows

    def more(self, node: ir.Node, value: ir.Value) -> int:
        """How many entries of a value of status `Timed` are no frame's."""
        status = self.status(value)
        assert isinstance(status, Timed) and value.shape is not None
        found = 0 if status.merged else extra(value.shape[status.axis], status.rows)
        if found is None:
            self.refuse(node, f"has {value.shape[status.axis]} entries along time, not one for each frame")
        return found

    def one_each(self, node: ir.Node) -> None:
        """Refuse a node that takes several entries of each frame."""
        rows = max((s.rows for v in self.timed(node) if isinstance(s := self.status(v), Timed)), default=1)
        if rows > 1:
            self.refuse(node, f"takes {rows} entries for each frame, and of it only a rule for one is known")

    def begins(self, values: Sequence[ir.Value | None]) -> int:
        """How many frames come before all of these mean something."""
        found = [0]
        for value in values:
            status = None if value is None else self.status(value)
            if isinstance(status, Last):
                found.append(status.begins)
            elif isinstance(status, Timed):
                found.append(status.delay)
        return max(found)

    def refuse(self, node: ir.Node, needs: str, delay: int | None = None) -> NoReturn:
        """`NotCausal` of this node, or of the one before it that made its input one of all frames."""
        for value in node.inputs:
            status = None if value is None else self._statuses.get(value)
            of_all = isinstance(status, Last) or (isinstance(status, Timed) and status.newest)
            if isinstance(status, Timed | Last) and of_all and status.late is not None:
                raise NotCausal(status.late.node, status.late.needs)
        raise NotCausal(node, needs, delay)

    # what stands for it

    def give(self, value: ir.Value, stands: ir.Value | None, status: Status) -> None:
        """Let `stands` stand for a value of the sequence graph."""
        self._statuses[value] = status
        if stands is not None:
            self._values[value] = stands

    def raw(self, value: ir.Value) -> ir.Value:
        """What stands for a value, however late or early it is."""
        if value.const_value is not None and value not in self._values:
            self._values[value] = initializer(self.graph, value.name or "", value.const_value.numpy())
        return self._values[value]

    def held(self, value: ir.Value, delay: int | None = None) -> ir.Value:
        """What stands for a value, later where it is `Timed`: entry `t - delay` at frame t, by default at least 0."""
        from temport.exporter.streaming.states import later

        status = self.status(value)
        if not isinstance(status, Timed):
            return self.raw(value)
        wanted = max(status.delay, 0) if delay is None else delay
        if (value, wanted) not in self._held:
            self._held[value, wanted] = later(self, value, status, wanted - status.delay)
        return self._held[value, wanted]

    def shape(self, value: ir.Value, status: Status) -> list[Size]:
        """The sizes of what stands for a value of this status."""
        assert value.shape is not None, f"{value.name} has no shape"
        dims = list(value.shape)
        if isinstance(status, Timed):
            return [
                status.rows if i == status.axis and not status.merged else of_one_frame(dim)
                for i, dim in enumerate(dims)
            ]
        return dims

    def copy(
        self,
        node: ir.Node,
        inputs: Sequence[ir.Value | None],
        statuses: Status | Sequence[Status],
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """The same node for one frame, and what its outputs are then."""
        each = [statuses] * len(node.outputs) if not isinstance(statuses, Sequence) else list(statuses)
        outputs = []
        for old, status in zip(node.outputs, each, strict=True):
            new = ir.Value(name=self.name(old.name or "value"), type=old.type)
            if old.shape is not None:
                new.shape = ir.Shape(self.shape(old, status))
            outputs.append(new)
            self.give(old, new, status)
        given = {key: ir.Attr(a.name, a.type, a.value) for key, a in node.attributes.items()}
        given |= {key: _attribute(key, value) for key, value in (attributes or {}).items()}
        new_node = ir.Node(
            node.domain, node.op_type, list(inputs), list(given.values()), outputs=outputs, name=node.name
        )
        new_node.metadata_props.update(node.metadata_props)
        self.graph.append(new_node)

    def add(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        shape: Sequence[Size],
        name: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        dtype: ir.DataType | None = None,
    ) -> ir.Value:
        """A new standard node with one output; its type is the first input's."""
        (output,) = self.add_of("", op, inputs, [shape], name, attributes)
        if dtype is not None:
            output.type = ir.TensorType(dtype)
        return output

    def add_of(
        self,
        domain: str,
        op: str,
        inputs: Sequence[ir.Value | None],
        shapes: Sequence[Sequence[Size]],
        name: str,
        attributes: Mapping[str, Any] | None = None,
    ) -> list[ir.Value]:
        """A new node of any domain, float like its first input, one output per shape."""
        first = next((v for v in inputs if v is not None), None)
        outputs = [
            ir.Value(
                name=self.name(name if not i else f"{name}/{i}"),
                type=None if first is None else first.type,
                shape=ir.Shape(shape),
            )
            for i, shape in enumerate(shapes)
        ]
        node = ir.node(
            op, list(inputs), attributes or {}, domain=domain, outputs=outputs, name=outputs[0].name
        )
        self.graph.append(node)
        return outputs

    def constant(self, name: str, array: npt.ArrayLike, dtype: Any = np.int64) -> ir.Value:
        """A new constant; one name is one content."""
        return initializer(self.graph, name, np.asarray(array, dtype))

    def integers(self, *numbers: int) -> ir.Value:
        """A constant of whole numbers, one for all who need the same."""
        return self.constant(f"integers/{'_'.join(map(str, numbers))}", numbers)

    def name(self, wanted: str) -> str:
        """A name that no value of the step graph has yet."""
        name, count = wanted, 1
        while name in self._names:
            count += 1
            name = f"{wanted}_{count}"
        self._names.add(name)
        return name

    # what is carried

    def ring_type(self, node: ir.Node, dtype: ir.DataType) -> ir.DataType:
        """Of the rings of keys and values of attention that computes in `dtype`."""
        if self.declaration.kv_dtype != HALF or dtype != ir.DataType.FLOAT:
            return dtype
        self.halves.append(node.outputs[0].name or "")
        return ir.DataType.FLOAT16

    def keeps_floats(self, node: ir.Node, why: str) -> None:
        """Says so where halves were asked for."""
        if self.declaration.kv_dtype == HALF:
            self.told.append(f"{STAY}{described(node)} stay in float32: {why}")

    def state(self, node: ir.Node, what: str, shape: Sequence[Size], dtype: ir.DataType) -> ir.Value:
        """A new state `[batch, *shape]` as it is before the frame, named by the layer of the node; `carry` ends it."""
        owner = layer_name(node) or (node.name or node.op_type).removeprefix("node_").replace("/", ".")
        wanted = "".join(c if c.isalnum() or c in "._" else "_" for c in f"{owner}.{what}")
        name, count = wanted, 1
        while BEFORE + name in self._names:
            count += 1
            name = f"{wanted}_{count}"
        return self._state_input(name, [self.batch, *shape], dtype)

    def carry(self, before: ir.Value, after: ir.Value, of: ir.Value | None = None, frames: int = 0) -> None:
        """What a state is after the frame; `of` and `frames` as `State` says."""
        name = (before.name or "").removeprefix(BEFORE)
        if after.producer() is None or any(after is state.after for state in self.states):
            after = self.add("Identity", [after], list(before.shape or ()), f"{name}/after")
        self.states.append(State(name, before, after, of, frames))

    def frames(self, delay: int = 0) -> ir.Value:
        """The place of the entry that is held with this delay: how many frames came before it, int64 `[batch, 1]`."""
        found = next((state.before for state in self.states if state.name == FRAMES), None)
        if found is None:
            found = self._state_input(FRAMES, [self.batch, 1], ir.DataType.INT64)
            self.carry(found, self.add("Add", [found, self.integers(1)], [self.batch, 1], "frames/next"))
            self.states.insert(0, self.states.pop())
        if not delay:
            return found
        name = f"frames/after_{delay}" if delay > 0 else f"frames/before_{-delay}"
        for node, _ in found.uses():
            if node.outputs[0].name == name:
                return node.outputs[0]
        return self.add("Sub", [found, self.integers(delay)], [self.batch, 1], name)

    def _state_input(self, name: str, shape: Sequence[Size], dtype: ir.DataType) -> ir.Value:
        value = ir.Value(name=self.name(BEFORE + name), type=ir.TensorType(dtype), shape=ir.Shape(shape))
        self._names.add(AFTER + name)
        return value


def joined_late(statuses: Sequence[Status]) -> Late | None:
    """Why what is made of several values is late."""
    of_all = [s for s in statuses if (isinstance(s, Last) or (isinstance(s, Timed) and s.newest)) and s.late]
    timed = [s for s in statuses if isinstance(s, Timed) and s.late is not None]
    if of_all:
        return of_all[0].late
    return max(timed, key=lambda s: s.delay).late if timed else None


def joined_last(statuses: Sequence[Status]) -> Status:
    """Of what is made of values without an axis of frames."""
    lasts = [s for s in statuses if isinstance(s, Last)]
    if not lasts:
        return Fixed()
    return Last(max(s.begins for s in lasts), all(s.kept for s in lasts), joined_late(lasts))


def changes(status: Status, delay: int) -> bool:
    """Whether an entry that is held with `delay` becomes another with the frames that come, beside this value."""
    return isinstance(status, Last) and not (status.kept and status.begins <= delay)


def _attribute(name: str, value: Any) -> ir.Attr:
    (attribute,) = ir.node("x", [], {name: value}).attributes.values()
    return attribute
