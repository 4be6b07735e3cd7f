"""A Python loop over the frames, which a trace unrolls: its equal steps become one Scan again.

Step t is what is made of places t of sequences and of what step t-1 left. Each step has to be the one before it, moved
by one place, node by node. In the first one constants are folded, so of what is a constant there the numbers are
compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph.edit import put
from temport.exporter.graph.evaluate_part import Part, UnknownPart
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.streaming.loop_body import Loop, Piece, last_of, write_scan
from temport.exporter.streaming.refusal import described

LEAST = 4
"""Steps that show what the next one is like."""


class Unequal(Exception):
    """The steps of a loop are not one step moved along; the text says where."""


def roll_loop(model: ir.Model, frames: int) -> bool:
    """Replace the first loop over `frames` by a Scan, in place; whether there was one. `Unequal` where it cannot be."""
    graph = model.graph
    levels, pieces = _levels(graph, frames)
    if {piece.at for piece in pieces.values()} != set(range(frames)) or frames < LEAST:
        return False
    stacks = [n for n in graph if _is_stack(n, levels, pieces, frames)]
    of_none = {*pieces, *(stack.outputs[0] for stack in stacks)}
    made = [n for n in graph if n.outputs[0] not in of_none]
    steps = [[n for n in made if levels.get(n.outputs[0]) == t] for t in range(frames)]
    if not steps[1]:
        raise Unequal("its loop over frames runs another way than from the first to the last")
    carried: dict[ir.Value, ir.Value] = {}
    for t in range(2, frames - 1):
        _compare(steps, pieces, t, carried)
    ends = _ends(steps, pieces)
    if any((v := stack.inputs[-2]) is None or ends.get(v) is not stack.inputs[-1] for stack in stacks):
        raise Unequal("its loop over frames does something else at the last frame than before")
    inside = {*stacks, *(value.producer() for value in ends.values())}
    read = [
        v
        for v, end in ends.items()
        if end.is_graph_output() or any(use.node not in inside for use in end.uses())
    ]
    like_second = dict(zip(_outputs(steps[-2]), _outputs(steps[1]), strict=True))
    loop = Loop(steps[1], pieces, carried, {}, stacks, [like_second[v] for v in read])
    _begin(loop)
    scan = write_scan(graph, loop)
    rows = scan.outputs[len(carried) :]
    for stack, value in zip(stacks, rows, strict=False):
        put(stack.outputs[0], value)
    for value, every in zip(read, rows[len(stacks) :], strict=True):
        put(ends[value], last_of(graph, scan, every))
    common.RemoveUnusedNodesPass()(model)
    return True


def _is_stack(node: ir.Node, levels: dict[ir.Value, int], pieces: dict[ir.Value, Piece], frames: int) -> bool:
    """Whether it puts the rows of all steps behind each other."""
    rows = [v for v in node.inputs if v is not None]
    return (
        is_standard(node, "Concat")
        and [levels.get(v) for v in rows] == list(range(frames))
        and not any(v in pieces for v in rows)
    )


def _levels(graph: ir.Graph, frames: int) -> tuple[dict[ir.Value, int], dict[ir.Value, Piece]]:
    """The step that a value is of, the last place of a sequence that it is made of; and the places themselves."""
    levels: dict[ir.Value, int] = {}
    pieces: dict[ir.Value, Piece] = {}
    for node in graph:
        given = [levels[v] for v in node.inputs if v is not None and v in levels]
        if given:
            levels |= dict.fromkeys(node.outputs, max(given))
            continue
        for value, piece in _pieces(node, frames):
            pieces[value], levels[value] = piece, piece.at
    return levels, pieces


def _pieces(node: ir.Node, frames: int) -> Iterator[tuple[ir.Value, Piece]]:
    """The outputs of a node that are one place of its first input each."""
    first = node.inputs[0] if node.inputs else None
    if first is None or first.const_value is not None or first.shape is None:
        return
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    if is_standard(node, "Gather") and first.shape[axis] == frames:
        index = _constant(node.inputs[1])
        if index is not None and index.ndim == 0 and int(index) >= 0:
            yield node.outputs[0], Piece(first, axis % len(first.shape), int(index), False)
    elif is_standard(node, "Split") and len(node.outputs) == frames == first.shape[axis]:
        for at, output in enumerate(node.outputs):
            yield output, Piece(first, axis % len(first.shape), at, True)
    elif is_standard(node, "Slice") and len(node.inputs) >= 4:
        bounds = [n for v in node.inputs[1:] if (n := _constant(v)) is not None and n.size == 1]
        if len(bounds) == len(node.inputs) - 1:
            start, stop, axis, *by = (int(n.reshape(())) for n in bounds)
            if first.shape[axis] == frames and stop == start + 1 and start >= 0 and by in ([], [1]):
                yield node.outputs[0], Piece(first, axis % len(first.shape), start, True)


def _compare(
    steps: list[list[ir.Node]], pieces: dict[ir.Value, Piece], t: int, carried: dict[ir.Value, ir.Value]
) -> None:
    """Step t is step t-1 moved by one. Of step 2 `carried` learns what step 1 reads of step 0, and which of its own
    outputs step 2 reads in that place."""
    before, here = steps[t - 1], steps[t]
    if [_kind(n) for n in before] != [_kind(n) for n in here]:
        raise Unequal(f"its loop over frames does something else at about frame {t} than before")
    moved = dict(zip(_outputs(before), _outputs(here), strict=True))
    left = dict(zip(_outputs(steps[t - 2]), _outputs(before), strict=t > 2))
    own = set(moved)
    for node, other in zip(before, here, strict=True):
        for value, at in zip(node.inputs, other.inputs, strict=True):
            if value is at or (value is not None and moved.get(value) is at):
                continue
            if value is not None and at is not None:
                if _alike(value, at) or _next(pieces, value, at, 1):
                    continue
                if t == 2 and at in own and carried.setdefault(value, at) is at:
                    continue
                if t > 2 and left.get(value) is at:
                    continue
            raise Unequal(
                f"its loop over frames takes something else at about frame {t} in {described(other)}"
            )


def _ends(steps: list[list[ir.Node]], pieces: dict[ir.Value, Piece]) -> dict[ir.Value, ir.Value]:
    """Outputs of the last step but one -> those of the last, which lacks what only the next would read, and is followed
    by what is made behind the loop."""
    left = dict(zip(_outputs(steps[-3]), _outputs(steps[-2]), strict=True))
    found: dict[ir.Value, ir.Value] = {}
    pending = list(steps[-1])

    def moved(value: ir.Value | None, at: ir.Value | None) -> bool:
        if value is None or at is None:
            return value is at
        if value in found or value in left:
            return found.get(value, left.get(value)) is at
        return value is at or _alike(value, at) or _next(pieces, value, at, 1)

    for node in steps[-2]:
        for other in pending:
            if _kind(node) == _kind(other) and all(map(moved, node.inputs, other.inputs)):
                found |= dict(zip(node.outputs, other.outputs, strict=True))
                pending.remove(other)
                break
    return found


def _begin(loop: Loop) -> None:
    """Find what the first step has in the place of what is carried; it has to be the step of the others."""
    inside = set(_outputs(loop.step))
    pending = [(after, before) for before, after in loop.carried.items()]
    pending += [
        (v, w) for s in loop.stacks if (v := s.inputs[1]) is not None and (w := s.inputs[0]) is not None
    ]
    folded: list[tuple[ir.Value, npt.NDArray[np.generic]]] = []
    seen = set[tuple[ir.Value, ir.Value]]()
    while pending:
        value, at = pending.pop()
        if (value, at) in seen or value is at:
            continue
        seen.add((value, at))
        node, other, constant = value.producer(), at.producer(), _constant(at)
        if value in loop.carried:
            if loop.begun.setdefault(value, at) is not at and not _alike(loop.begun[value], at):
                raise Unequal("its loop over frames begins with two things in the place of one")
        elif value in inside and node is not None and other is not None and _kind(node) == _kind(other):
            pending += [
                (v, w)
                for v, w in zip(node.inputs, other.inputs, strict=True)
                if v is not None and w is not None
            ]
        elif value in inside and constant is not None:
            folded.append((value, constant))
        elif not (_alike(value, at) or _next(loop.pieces, at, value, 1)):
            raise Unequal("its loop over frames begins with another step than it goes on with")
    for value in loop.carried:
        if value in loop.begun:
            loop.begun[value] = _settled(loop.begun[value])
        else:  # folded away with all that reads it, as zeros are
            loop.begun[value] = _new(f"{value.name}/begun", _zeros(value))
    for value, number in folded:
        if not _is_folded(loop, value, number):
            raise Unequal("its loop over frames begins with another step than it goes on with")


def _is_folded(loop: Loop, value: ir.Value, number: npt.NDArray[np.generic]) -> bool:
    """Whether this is what the step makes of what it begins with."""
    known = {v: n for v, w in loop.begun.items() if (n := _constant(w)) is not None}
    try:
        found = Part(value, list(known)).at({}, list(known.values()))
    except UnknownPart:
        return False
    return found.shape == number.shape and np.allclose(found, number, rtol=1e-5, atol=1e-6)


def _zeros(value: ir.Value) -> npt.NDArray[np.generic]:
    if value.shape is None or value.dtype is None or not all(isinstance(d, int) for d in value.shape):
        raise Unequal("its loop over frames begins with something that is not found in its first step")
    return np.zeros([int(d) for d in value.shape if isinstance(d, int)], value.dtype.numpy())


def _settled(value: ir.Value) -> ir.Value:
    """As a constant where it is one."""
    if value.const_value is not None or value.is_graph_input() or not value.shape:
        return value
    try:
        return _new(f"{value.name}/settled", Part(value).at({}))
    except UnknownPart:
        return value


def _new(name: str, array: npt.NDArray[np.generic]) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    shape = ir.Shape(array.shape)
    return ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)


def _kind(node: ir.Node) -> tuple[object, ...]:
    attributes = sorted((a.name, str(a.value)) for a in node.attributes.values())
    return node.domain, node.op_type, len(node.inputs), len(node.outputs), tuple(attributes)


def _outputs(nodes: list[ir.Node]) -> list[ir.Value]:
    return [value for node in nodes for value in node.outputs]


def _next(pieces: dict[ir.Value, Piece], value: ir.Value, other: ir.Value, by: int) -> bool:
    """Whether both are places of one sequence, the other `by` behind."""
    one, two = pieces.get(value), pieces.get(other)
    return one is not None and two is not None and one.moved(by) == two


def _alike(value: ir.Value, other: ir.Value) -> bool:
    """Whether both are the same constant."""
    one, two = _constant(value), _constant(other)
    return one is not None and two is not None and one.dtype == two.dtype and np.array_equal(one, two)


def _constant(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    return None if value is None or value.const_value is None else np.asarray(value.const_value.numpy())
