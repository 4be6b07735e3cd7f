"""What a window of frames gives frame by frame: values whose entry t along time is made of frame t alone.

Sizes are numbers here, also along time, for a model that takes exactly so many frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from temport.exporter.graph import operators
from temport.exporter.graph.operator_row import Along, Time
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.streaming.shapes import Size

Places = dict[ir.Value, "Place"]


@dataclass(frozen=True)
class Place:
    """Where the frames of a value are.

    merged  axis 0 holds the frames of all entries of the batch
    """

    axis: int
    merged: bool = False


def frame_wise(model: ir.Model, inputs: Places, frames: int) -> tuple[Places, list[ir.Node]]:
    """The values that are made frame by frame of these inputs and constants, and the nodes that make them.

    What has batch and frames on one axis is none where it is needed so by another node: it cannot be kept.
    """
    left_out: set[ir.Node] = set()
    while True:
        places, nodes = dict(inputs), list[ir.Node]()
        for node in model.graph:
            found = None if node in left_out else _place(node, places, frames)
            if found is not None:
                nodes.append(node)
                places |= dict.fromkeys(node.outputs, found)
        inside = set(nodes)
        stuck = {
            node
            for node in nodes
            for value in node.outputs
            if places[value].merged
            and (value.is_graph_output() or any(use.node not in inside for use in value.uses()))
        }
        if not stuck:
            return places, nodes
        left_out |= stuck


def one_frame(value: ir.Value, place: Place, batch: Size) -> list[Size]:
    """The sizes of the value where there is one frame."""
    assert value.shape is not None
    return [(batch if place.merged else 1) if i == place.axis else size for i, size in enumerate(value.shape)]


def _place(node: ir.Node, places: Places, frames: int) -> Place | None:
    """Where the frames of its outputs are; None where an entry takes more than its frame."""
    given = [v for v in node.inputs if v is not None]
    timed = [v for v in given if v in places]
    if not timed or not is_standard(node) or any(v.shape is None for v in (*given, *node.outputs)):
        return None
    first, row = node.inputs[0], operators.of(node)
    if not row.renames and any(v not in places and v.const_value is None for v in given):
        return None  # of a reshape its sizes are known without
    if row.along is Along.EACH:
        return _each(node, places, given)
    if row.time is Time.CONTEXT and node.op_type == "Concat":
        at = {places.get(v) for v in given}
        return places[timed[0]] if len(at) == 1 and places[timed[0]].axis != _int(node, "axis", 0) else None
    if row.along is Along.PICKED and timed == [node.inputs[1]]:
        return _picked_by(node, places[timed[0]])
    if timed != [first] or first is None or first.shape is None:
        return None
    at_first, rank = places[first], len(first.shape)
    axis = at_first.axis
    if row.time is Time.CHANNELS:
        return at_first if axis != 1 else None
    match row.along:
        case Along.ROWS:
            weight = node.inputs[1]
            plain = weight is not None and weight.shape is not None and len(weight.shape) == 2
            return at_first if plain and axis < rank - 1 and not _int(node, "transA", 0) else None
        case Along.FROM_AXIS:
            return at_first if axis < _int(node, "axis", -1) % rank else None
        case Along.ACROSS_AXIS:
            default = 0 if node.op_type == "Split" else -1
            return at_first if axis != _int(node, "axis", default) % rank else None
        case Along.BESIDE_AXES:
            return _reduced(node, at_first, rank)
        case Along.RENAMED:
            return _renamed(node, at_first, frames)
        case Along.PERMUTED:
            perm = (
                list(node.attributes["perm"].as_ints()) if "perm" in node.attributes else [*range(rank)][::-1]
            )
            return None if at_first.merged and perm[0] != 0 else Place(perm.index(axis), at_first.merged)
        case Along.CUT:
            axes = _numbers(node.inputs[3]) if len(node.inputs) > 3 else list(range(rank))
            return at_first if axis not in [a % rank for a in axes] else None
        case Along.PICKED:
            picks = _int(node, "axis", 0) % rank
            shape = node.inputs[1].shape if node.inputs[1] is not None else None
            behind = len(shape or ()) - 1 if picks < axis else 0
            return (
                Place(axis + behind, at_first.merged)
                if picks != axis and not (at_first.merged and behind)
                else None
            )
        case Along.WINDOW:
            return _under_kernel(node, at_first)
    return None


def _each(node: ir.Node, places: Places, given: Sequence[ir.Value]) -> Place | None:
    """All at one place, counted from the end; constants are the same for all frames."""
    (output,) = node.outputs
    rank = len(output.shape or ())
    found = {
        Place(rank - len(v.shape or ()) + places[v].axis, places[v].merged) for v in given if v in places
    }
    if len(found) != 1:
        return None
    (place,) = found
    for value in given:
        dims = list(value.shape or ())
        at = place.axis - (rank - len(dims))
        if value not in places and at >= 0 and dims[at] != 1:
            return None
    return place


def _picked_by(node: ir.Node, place: Place) -> Place | None:
    """Rows of a table of constants, by what the frames say."""
    axis = _int(node, "axis", 0)
    return Place(place.axis + axis, place.merged) if not (place.merged and axis) else None


def _reduced(node: ir.Node, place: Place, rank: int) -> Place | None:
    if node.op_type in ("ArgMax", "ArgMin"):
        axes = [_int(node, "axis", 0) % rank]
    else:
        given = node.inputs[1] if len(node.inputs) > 1 else None
        axes = [a % rank for a in _numbers(given)] if given is not None else []
    if not axes or place.axis in axes:
        return None
    keeps = _int(node, "keepdims", 1)
    return place if keeps else Place(place.axis - sum(a < place.axis for a in axes), place.merged)


def _renamed(node: ir.Node, place: Place, frames: int) -> Place | None:
    """The axis of frames in other company: as many elements stand in front of it, or the batch alone, on one axis."""
    first, (output,) = node.inputs[0], node.outputs
    assert first is not None and first.shape is not None and output.shape is not None
    before, after = list(first.shape), list(output.shape)
    if place.merged:
        if after[:1] == before[:1]:
            return place
        return Place(1) if len(after) > 1 and after[1] == frames and _same(after[:2], before[:1]) else None
    for axis, size in enumerate(after):
        if size == frames and _same(before[: place.axis], after[:axis]):
            return Place(axis)
    return Place(0, merged=True) if place.axis == 1 and _same(before[:2], after[:1]) else None


def _same(some: Sequence[Size], others: Sequence[Size]) -> bool:
    """Whether the products are one."""
    return _product(some) == _product(others)


def _product(dims: Sequence[Size]) -> Size:
    product: Size = 1
    for dim in dims:
        product = dim * product if product != 1 else dim
    return product


def _under_kernel(node: ir.Node, place: Place) -> Place | None:
    """Of frames as entries of a batch, or under a kernel of one frame."""
    if place.axis == 0:
        return place
    if place.axis == 1 or node.op_type != "Conv":
        return None
    weight, at = node.inputs[1], place.axis - 2
    assert weight is not None and weight.shape is not None
    spatial = len(weight.shape) - 2
    strides, pads = (
        _ints(node, name, n) for name, n in (("strides", [1] * spatial), ("pads", [0] * 2 * spatial))
    )
    alone = weight.shape[place.axis] == 1 and strides[at] == 1 and not (pads[at] or pads[at + spatial])
    return place if alone and "auto_pad" not in node.attributes else None


def _int(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _ints(node: ir.Node, name: str, default: list[int]) -> list[int]:
    return [int(n) for n in node.attributes[name].as_ints()] if name in node.attributes else default


def _numbers(value: ir.Value | None) -> list[int]:
    assert value is not None and value.const_value is not None
    return [int(n) for n in value.const_value.numpy().reshape(-1)]
