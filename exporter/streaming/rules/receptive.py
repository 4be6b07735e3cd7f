"""Convolutions and pooling along time: the frames under the kernel, of which a ring keeps the earlier ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import onnx_ir as ir

from temport.exporter.streaming.joining import settled
from temport.exporter.streaming.shapes import number
from temport.exporter.streaming.states import part, ring
from temport.exporter.streaming.status import Late, OfSizes, Timed
from temport.exporter.streaming.step import Step

POOLS = ("AveragePool", "MaxPool")


def receptive(step: Step, node: ir.Node) -> None:
    """Zeros in front of the frames are a ring that begins with zeros; zeros behind them are frames to wait for."""
    data, *given = node.inputs
    assert data is not None and data.shape is not None
    status = step.status(data)
    if isinstance(status, OfSizes) or any(isinstance(step.status(v), Timed | OfSizes) for v in given if v):
        step.refuse(node, "takes a kernel that changes with the frames")
    others = [None if v is None else step.raw(v) for v in given]
    if not isinstance(status, Timed):
        step.copy(node, [step.raw(data), *others], status)
        return
    if status.axis == 0:  # each frame is an entry of the batch
        step.copy(node, [step.held(data), *others], settled(status))
        return
    if status.axis == 1:
        step.refuse(node, "takes all frames as its channels")
    place, spatial = status.axis - 2, len(data.shape) - 2
    kernel = _kernel(node)
    strides, dilations = (_ints(node, name, [1] * spatial) for name in ("strides", "dilations"))
    pads = _pads(step, node, kernel, dilations)
    if strides[place] != 1:
        step.refuse(node, f"gives one frame for every {strides[place]} that come")
    if node.op_type in POOLS and (pads[place] or pads[place + spatial]) and not _counts_padding(node):
        step.refuse(node, "takes fewer frames at the ends of the sequence")
    span, left = (kernel[place] - 1) * dilations[place], pads[place]
    if status.rows > 1:
        _over_entries(step, node, others, left, span, _unpadded(pads, place, kernel))
        return
    # entry o takes the entries o - left to o - left + span of its input
    held = replace(status, delay=max(status.delay, left - span if status.lead is None or not left else 0))
    here = step.held(data, held.delay)
    lead = status.lead if held.delay < 0 else None
    if (held.newest or held.merged) and span:
        step.refuse(node, "takes earlier frames of what changes with every frame")
    if span:
        here = ring(step, node, here, status.axis, span, "frames", held.delay, lead)
    late = pads[place + spatial] > 0
    becomes = replace(
        held,
        delay=held.delay + span - left,
        lead=None,
        late=Late(node, "needs the frames that come after, and stands in zeros for those after the last")
        if late
        else status.late,
    )
    step.copy(node, [here, *others], becomes, _unpadded(pads, place, kernel))


def _unpadded(pads: list[int], place: int, kernel: list[int]) -> dict[str, Any]:
    """Attributes of the node without zeros around the frames."""
    return {
        "pads": [0 if i % (len(pads) // 2) == place else n for i, n in enumerate(pads)],
        "auto_pad": "NOTSET",
        "kernel_shape": kernel,
    }


def _over_entries(
    step: Step, node: ir.Node, others: list[ir.Value | None], left: int, span: int, own: dict[str, Any]
) -> None:
    """Of several entries for each frame: those under the kernel, for each of a frame's. What needs later ones waits for
    the frame that they come with."""
    data = node.inputs[0]
    assert data is not None
    status = step.status(data)
    assert isinstance(status, Timed)
    if status.merged or status.newest or left > span:
        step.one_each(node)
    rows, waits = status.rows, -(-(span - left) // status.rows)
    spare = waits * rows - (span - left)
    held = settled(status)
    here = step.held(data)
    if span + spare:
        here = ring(step, node, here, status.axis, span + spare, "frames", held.delay)
    if spare:
        here = part(step, here, status.axis, 0, rows + span, f"{node.outputs[0].name}/under_kernel")
    late = Late(node, f"needs {span - left} of the entries that come after") if waits else status.late
    step.copy(node, [here, *others], replace(held, delay=held.delay + waits, late=late), own)


def _kernel(node: ir.Node) -> list[int]:
    """By the weights; pooling has none."""
    if node.op_type in POOLS:
        return _ints(node, "kernel_shape", [])
    weight = node.inputs[1]
    assert weight is not None and weight.shape is not None
    return [number(n) for n in weight.shape[2:]]


def _counts_padding(node: ir.Node) -> bool:
    """Whether what is padded counts as zeros."""
    return "count_include_pad" in node.attributes and node.attributes["count_include_pad"].as_int() != 0


def _ints(node: ir.Node, name: str, default: list[int]) -> list[int]:
    return [int(n) for n in node.attributes[name].as_ints()] if name in node.attributes else default


def _pads(step: Step, node: ir.Node, kernel: list[int], dilations: list[int]) -> list[int]:
    """What is padded in front of each spatial axis, then behind each."""
    auto = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
    if auto == "NOTSET":
        return _ints(node, "pads", [0] * 2 * len(kernel))
    if auto == "VALID":
        return [0] * 2 * len(kernel)
    spans = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    less, more = [s // 2 for s in spans], [s - s // 2 for s in spans]
    return less + more if auto == "SAME_UPPER" else more + less
