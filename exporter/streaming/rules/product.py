"""Products of matrices: of this frame, as long as no sum runs over frames."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from temport.exporter.streaming.joining import join, settled
from temport.exporter.streaming.positions import always, in_frame
from temport.exporter.streaming.rules.along import early
from temport.exporter.streaming.rules.pairs import PAIRS, scores
from temport.exporter.streaming.rules.tables import weighed_frames
from temport.exporter.streaming.shapes import axes_of_time
from temport.exporter.streaming.status import OfSizes, Status, Timed
from temport.exporter.streaming.step import Step, changes, joined_late

SUMS = "sums over all frames, later ones too"


def product(step: Step, node: ir.Node) -> None:
    of_sizes = [v for v in node.inputs if v is not None and isinstance(step.status(v), OfSizes)]
    if any(axes_of_time(list(v.shape or ())) or always(step, node, v) is None for v in of_sizes):
        if node.op_type == "Einsum":
            step.refuse(node, "multiplies with a table of positions")
        step.one_each(node)
        weighed_frames(step, node)
        return
    if not step.timed(node):
        _of_no_frames(step, node)
    elif node.op_type == "Einsum":
        _einsum(step, node)
    else:
        _matmul(step, node)


def _of_no_frames(step: Step, node: ir.Node) -> None:
    (output,) = node.outputs
    joined = join(step, node, len(output.shape or ()))
    step.copy(node, [None if v is None else _operand(step, node, v, 0) for v in node.inputs], joined)


def _operand(step: Step, node: ir.Node, value: ir.Value, delay: int) -> ir.Value:
    """What stands for a value; of one that is the same at all lengths, as a memory for each of the batch, one row."""
    if isinstance(step.status(value), OfSizes):
        return in_frame(step, node, value, delay)
    return step.held(value, delay)


def _matmul(step: Step, node: ir.Node) -> None:
    left, right = node.inputs
    (output,) = node.outputs
    assert left is not None and right is not None and output.shape is not None
    assert left.shape is not None and right.shape is not None
    rank = len(output.shape)
    places = []
    for value, summed in ((left, 1), (right, 2)):
        status, own = step.status(value), len(value.shape or ())
        if not isinstance(status, Timed):
            continue
        behind = own - status.axis  # counted from the end
        if behind == summed:
            step.refuse(node, SUMS)
        places.append(rank - behind)
    if len(set(places)) > 1:
        scores(step, node)
        return
    of_left = step.status(left)
    if isinstance(of_left, Timed) and of_left.lead is not None and early(step, node, [left]):
        return
    joined = _together(step, node, places[0])
    delay = joined.delay if isinstance(joined, Timed) else 0
    step.copy(node, [_operand(step, node, left, delay), _operand(step, node, right, delay)], joined)


def _einsum(step: Step, node: ir.Node) -> None:
    equation = node.attributes["equation"].as_string().replace(" ", "")
    if "->" not in equation or "." in equation:
        step.refuse(node, "names its axes in a way that is not read here")
    terms, result = equation.split("->")
    letters = set()
    for value, term in zip(node.inputs, terms.split(","), strict=True):
        status = None if value is None else step.status(value)
        if isinstance(status, Timed):
            letters.add(term[status.axis])
    if len(letters) > 1:
        step.refuse(node, PAIRS)
    (letter,) = letters
    if letter not in result:
        step.refuse(node, SUMS)
    joined = _together(step, node, result.index(letter))
    delay = joined.delay if isinstance(joined, Timed) else 0
    step.copy(node, [None if v is None else _operand(step, node, v, delay) for v in node.inputs], joined)


def _together(step: Step, node: ir.Node, axis: int) -> Status:
    """Both are of one frame, which is on this axis of the product."""
    timed = [s for v in step.timed(node) if isinstance(s := step.status(v), Timed)]
    lengths = {(step.extra(node, v), s.rows) for v, s in zip(step.timed(node), timed, strict=True)}
    if len(lengths) > 1:
        step.refuse(node, "joins sequences of different lengths")
    latest = max(timed, key=lambda s: s.delay)
    others = [step.status(v) for v in node.inputs if v is not None and not isinstance(step.status(v), Timed)]
    here = settled(latest)
    return replace(
        here,
        axis=axis,
        newest=any(s.newest for s in timed) or any(changes(s, here.delay) for s in others),
        merged=any(s.merged for s in timed),
        late=joined_late([*timed, *others]),
    )
