"""The Scan that a loop over frames is: the nodes of one step are its body."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from temport.exporter.graph.edit import initializer


@dataclass(frozen=True)
class Piece:
    """Place `at` of a sequence; its axis of frames is cut away, or has size 1 where the piece `keeps` it."""

    of: ir.Value
    axis: int
    at: int
    keeps: bool

    def moved(self, by: int) -> Piece:
        return replace(self, at=self.at + by)


@dataclass(frozen=True)
class Loop:
    """A loop by one step of it.

    step     its nodes
    pieces   the places of sequences, those of this step among them
    carried  what the step reads of the one before -> what it leaves in that place
    begun    what the first step has in the place of each of these
    stacks   what puts the rows of all steps behind each other; this step's are their second inputs
    read     values of the step whose last is read behind the loop
    """

    step: list[ir.Node]
    pieces: dict[ir.Value, Piece]
    carried: dict[ir.Value, ir.Value]
    begun: dict[ir.Value, ir.Value]
    stacks: list[ir.Node]
    read: list[ir.Value]


class _Body:
    """A graph while it is made, of names that begin alike."""

    def __init__(self, name: str) -> None:
        self.name, self.nodes = name, list[ir.Node]()
        self.here: dict[ir.Value, ir.Value] = {}

    def like(self, value: ir.Value, what: str) -> ir.Value:
        return ir.Value(name=f"{self.name}/{what}", type=value.type, shape=value.shape)

    def add(self, op: str, given: ir.Value, what: str, axis: int | None = None) -> ir.Value:
        inputs = [given]
        if axis is not None:
            tensor = ir.tensor(np.array([axis]), name=f"{self.name}/{what}/axis")
            self.nodes.append(ir.node("Constant", [], {"value": tensor}))
            inputs.append(self.nodes[-1].outputs[0])
            inputs[-1].name, inputs[-1].type = tensor.name, ir.TensorType(tensor.dtype)
        node = ir.node(op, inputs)
        node.outputs[0].name, node.outputs[0].type = f"{self.name}/{what}", given.type
        self.nodes.append(node)
        return node.outputs[0]

    def copy(self, node: ir.Node) -> None:
        attributes = [ir.Attr(a.name, a.type, a.value) for a in node.attributes.values()]
        outputs = [self.like(value, value.name or "value") for value in node.outputs]
        inputs = [None if v is None else self.here.get(v, v) for v in node.inputs]
        name = f"{self.name}/{node.name}"
        made = ir.Node(node.domain, node.op_type, inputs, attributes, outputs=outputs, name=name)
        made.metadata_props.update(node.metadata_props)
        self.nodes.append(made)
        self.here |= dict(zip(node.outputs, outputs, strict=True))


def write_scan(graph: ir.Graph, loop: Loop) -> ir.Node:
    """The Scan, where the second step begins: its outputs are what is carried behind the last step, the stacks, and all
    rows of what is `read`, along axis 0."""
    body = _Body(f"{loop.step[0].name}/loop")
    read = list(dict.fromkeys(v for n in loop.step for v in n.inputs if v is not None and v in loop.pieces))
    sequences = list(dict.fromkeys((loop.pieces[v].of, loop.pieces[v].axis) for v in read))
    states = list(loop.carried)
    body.here |= {value: body.like(value, f"before_{i}") for i, value in enumerate(states)}
    frames = [_frame(body, i, *sequence) for i, sequence in enumerate(sequences)]
    for value in read:
        piece = loop.pieces[value]
        place = sequences.index((piece.of, piece.axis))
        kept = (
            body.add("Unsqueeze", frames[place], f"kept_{value.name}", piece.axis)
            if piece.keeps
            else frames[place]
        )
        body.here[value] = kept
    for node in loop.step:
        body.copy(node)
    axes = [stack.attributes["axis"].as_int() % len(stack.outputs[0].shape or ()) for stack in loop.stacks]
    left = [body.add("Identity", body.here[loop.carried[v]], f"after_{i}") for i, v in enumerate(states)]
    rows = [
        body.add("Squeeze", body.here[row], f"row_{i}", axis)
        for i, (stack, axis) in enumerate(zip(loop.stacks, axes, strict=True))
        if (row := stack.inputs[1]) is not None
    ]
    rows += [body.add("Identity", body.here[v], f"read_{i}") for i, v in enumerate(loop.read)]
    inputs = [*(body.here[v] for v in states), *frames]
    inside = ir.Graph(
        inputs,
        [*left, *rows],
        nodes=body.nodes,
        opset_imports=dict(graph.opset_imports),
        name=f"{body.name}/step",
    )
    attributes: dict[str, Any] = {
        "body": inside,
        "num_scan_inputs": len(sequences),
        "scan_input_axes": [axis for _, axis in sequences],
        **({"scan_output_axes": [*axes, *[0] * len(loop.read)]} if rows else {}),
    }
    outputs = [
        *(body.like(value, f"last_{i}") for i, value in enumerate(states)),
        *(body.like(stack.outputs[0], f"rows_{i}") for i, stack in enumerate(loop.stacks)),
        *(body.like(value, f"all_{i}") for i, value in enumerate(loop.read)),
    ]
    for value, every in zip(loop.read, outputs[len(states) + len(axes) :], strict=True):
        sequence, axis = sequences[0]
        assert value.shape is not None and sequence.shape is not None
        every.shape = ir.Shape([sequence.shape[axis], *value.shape])
    begun = [loop.begun[v] for v in states]
    for value in begun:
        if value.const_value is not None and value.name not in graph.initializers:
            graph.register_initializer(value)
    scan = ir.node(
        "Scan",
        [*begun, *(sequence for sequence, _ in sequences)],
        attributes,
        outputs=outputs,
        name=body.name,
    )
    scan.metadata_props.update(loop.step[0].metadata_props)
    graph.insert_before(loop.step[0], scan)
    return scan


def last_of(graph: ir.Graph, scan: ir.Node, rows: ir.Value) -> ir.Value:
    """The last of rows along axis 0."""
    assert rows.shape is not None
    index = initializer(graph, f"{scan.name}/newest", np.array(-1))
    node = ir.node("Gather", [rows, index], {"axis": 0})
    node.outputs[0].name, node.outputs[0].type = f"{rows.name}/last", rows.type
    node.outputs[0].shape = ir.Shape(list(rows.shape)[1:])
    graph.insert_after(scan, node)
    return node.outputs[0]


def _frame(body: _Body, place: int, sequence: ir.Value, axis: int) -> ir.Value:
    dims = [d for at, d in enumerate(sequence.shape or ()) if at != axis]
    return ir.Value(name=f"{body.name}/frame_{place}", type=sequence.type, shape=ir.Shape(dims))
