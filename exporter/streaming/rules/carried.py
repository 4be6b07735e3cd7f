"""Scan over time: its body, once per frame; what it carries from frame to frame is the state of the stream."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from temport.exporter.streaming.rules.recurrent import begun
from temport.exporter.streaming.states import store, stored
from temport.exporter.streaming.status import Fixed, Last, Timed
from temport.exporter.streaming.step import Step


def carried(step: Step, node: ir.Node) -> None:
    body = node.attributes["body"].as_graph()
    count = node.attributes["num_scan_inputs"].as_int()
    starts, frames = list(node.inputs[:-count]), list(node.inputs[-count:])
    outputs = len(node.outputs) - len(starts)
    axes = [_axis(node, "scan_input_axes", i, v) for i, v in enumerate(frames)]
    delay = _delay(step, node, frames, axes)
    given: dict[ir.Value, ir.Value] = {}
    states = []
    for i, (start, inside) in enumerate(zip(starts, body.inputs[: len(starts)], strict=True)):
        assert start is not None and start.shape is not None and start.dtype is not None
        dims = list(start.shape)
        before, held = stored(step, node, dims, start.dtype, f"carried_{i}" if len(starts) > 1 else "carried")
        given[inside] = begun(step, node, held, start, delay)
        states.append((before, dims))
    for value, axis, inside in zip(frames, axes, body.inputs[len(starts) :], strict=True):
        assert value is not None
        here = step.held(value, delay)
        dims = [d for i, d in enumerate(here.shape or ()) if i != axis]
        given[inside] = step.add("Squeeze", [here, step.integers(axis)], dims, f"{here.name}/frame")
    made = _once(step, node, body, given)
    for output, after, (before, dims) in zip(node.outputs, made, states, strict=False):
        after.shape = ir.Shape(dims)
        store(step, before, after, delay)
        step.give(output, after, Last(delay))
    places = _ints(node, "scan_output_axes", outputs)
    for output, value, place in zip(node.outputs[len(starts) :], made[len(starts) :], places, strict=True):
        assert output.shape is not None
        axis = place % len(output.shape)
        status = Timed(axis, delay)
        dims = step.shape(output, status)
        value.shape = ir.Shape([d for i, d in enumerate(dims) if i != axis])
        here = step.add("Unsqueeze", [value, step.integers(axis)], dims, output.name or "scanned")
        step.give(output, here, status)


def _delay(step: Step, node: ir.Node, frames: Sequence[ir.Value | None], axes: Sequence[int]) -> int:
    """Of what is scanned; refused where that is not the frames as they come."""
    directions = [
        *_ints(node, "scan_input_directions", len(frames)),
        *_ints(node, "scan_output_directions", 0),
    ]
    if any(directions):
        step.refuse(node, "runs backwards, from the last frame on")
    delays = [0]
    for value, axis in zip(frames, axes, strict=True):
        status = None if value is None else step.status(value)
        if not isinstance(status, Timed) or status.axis != axis or status.newest or status.merged:
            step.refuse(node, "scans something else than the frames as they come")
        assert value is not None
        if step.extra(node, value):
            step.refuse(node, "scans more or fewer entries than there are frames")
        delays.append(status.delay)
    return max(delays)


def _once(step: Step, node: ir.Node, body: ir.Graph, given: dict[ir.Value, ir.Value]) -> list[ir.Value]:
    """The nodes of the body in the step graph, for its inputs as given; its outputs, which no node has as they were."""
    name = node.name or node.outputs[0].name or "scan"

    def here(value: ir.Value | None) -> ir.Value | None:
        if value is None or value in given:
            return None if value is None else given[value]
        if value.const_value is not None:
            given[value] = step.constant(
                f"{name}/{value.name}", value.const_value.numpy(), value.const_value.numpy().dtype
            )
            return given[value]
        if value.graph is body or not isinstance(step.status(value), Fixed):
            step.refuse(node, "takes from outside what changes with the frames")
        return step.raw(value)

    for inner in body:
        if any(
            a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in inner.attributes.values()
        ):
            step.refuse(node, f"holds another graph in its body ({inner.op_type})")
        outputs = [ir.Value(name=step.name(f"{name}/{v.name}"), type=v.type) for v in inner.outputs]
        inputs = [here(v) for v in inner.inputs]
        attributes = [ir.Attr(a.name, a.type, a.value) for a in inner.attributes.values()]
        made = ir.Node(inner.domain, inner.op_type, inputs, attributes, outputs=outputs, name=outputs[0].name)
        step.graph.append(made)
        given |= dict(zip(inner.outputs, outputs, strict=True))
    found = []
    for i, value in enumerate(body.outputs):
        source = here(value)
        assert source is not None
        found.append(step.add("Identity", [source], [], f"{name}/out_{i}", dtype=value.dtype or source.dtype))
    return found


def _axis(node: ir.Node, name: str, place: int, value: ir.Value | None) -> int:
    assert value is not None and value.shape is not None
    return _ints(node, name, place + 1)[place] % len(value.shape)


def _ints(node: ir.Node, name: str, count: int) -> list[int]:
    return [int(n) for n in node.attributes[name].as_ints()] if name in node.attributes else [0] * count
