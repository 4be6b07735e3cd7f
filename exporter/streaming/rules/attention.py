"""Attention: the keys and values that the newest query may see are kept in two rings."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from temport.custom_ops.block_linear_attention.attributes import BlockLinearAttributes
from temport.custom_ops.domain import DOMAIN
from temport.exporter.graph.attention import Attention
from temport.exporter.streaming.joining import join, settled, whole_inputs
from temport.exporter.streaming.rules.aged import over_rings
from temport.exporter.streaming.rules.in_front import among_themselves, rows_in_front
from temport.exporter.streaming.shapes import axes_of_time, number
from temport.exporter.streaming.states import empty_rows, kept_until, reshaped, ring, within_horizon
from temport.exporter.streaming.status import Fixed, Last, Late, OfSizes, Status, Timed
from temport.exporter.streaming.step import Step, joined_late


def attention(step: Step, node: ir.Node) -> None:
    """A cache of the window; without one, of the horizon."""
    seen = Attention.of(node)
    assert seen is not None
    values = [v for v in (seen.q, seen.k, seen.v) if v is not None]
    if not any(isinstance(step.status(v), Timed | OfSizes) for v in node.inputs if v is not None):
        begins = step.begins(node.inputs)
        step.copy(node, [None if v is None else step.raw(v) for v in node.inputs], Last(begins))
        return
    query = step.status(seen.q)
    keys = [step.status(v) for v in values[1:]] or [query]
    others = [v for v in node.inputs if v is not None and v is not seen.q]
    if others and all(_is_static(step, v) for v in others):
        _to_static(step, node, seen, query)
        return
    within = [step.status(v) for v in node.inputs if v is not None]
    if all(isinstance(s, Timed) and s.axis == 0 and not s.newest for s in within):
        # each frame is an entry of the batch
        joined = join(step, node, 3, values)
        step.copy(node, whole_inputs(step, node, joined, list(node.inputs)), joined)
        return
    if not all(isinstance(s, Timed) for s in keys) or not isinstance(query, Timed | Last):
        step.refuse(node, "attends to something else than frames")
    one_query = isinstance(query, Last) and seen.q.shape is not None and seen.q.shape[1] == 1
    if isinstance(query, Last) and not one_query:
        step.refuse(node, "attends from several frames at once")
    ahead = seen.rule.query_offset or 0
    # a query that far ahead of its keys waits for them
    misplaced = ahead and (ahead < 0 or not seen.rule.causal or not seen.rule.window or one_query)
    if misplaced or (one_query and seen.rule.query_offset is not None and seen.rule.causal):
        step.refuse(node, "places queries elsewhere than at their own frames")
    if not one_query and not seen.rule.causal and not seen.rule.window:
        step.refuse(node, "sees all frames, later ones too, since it is not causal")
    mask = None if seen.key_mask is None else step.status(seen.key_mask)
    if not (mask is None or isinstance(mask, Timed)):
        step.refuse(node, "takes a mask of keys that is not one of frames")
    timed = [s for s in (query, *keys, mask) if isinstance(s, Timed)]
    if any(s.newest or s.merged or s.axis != 1 for s in timed):
        step.refuse(node, "attends to what changes with every frame")
    rows = timed[-1].rows
    if any(s.rows != rows for s in timed):
        step.refuse(node, "attends from some of a frame's entries to others")
    delays = {s.delay for s in timed}
    if one_query:
        delays = {max(_with_the_last(step, node, seen), *delays)}
    led = len(delays) == 1 and min(delays) < 0 and seen.heads == seen.kv_heads
    if led and not (ahead or mask or rows > 1):
        result, lead = _in_standard_operators(step, node, seen, min(delays), 0)
        step.give(node.outputs[0], result, Last() if one_query else replace(timed[0], lead=lead))
        return
    if one_query and min(delays) < 0:
        step.refuse(node, "attends to what stands in front of the frames, under a mask or by groups of heads")
    delay = max(0, *delays)
    given: Status = Last(delay)
    if not one_query:
        wait = -(-ahead // rows)
        what = "frames" if rows == 1 else "of the entries"
        late = Late(node, f"sees {ahead} {what} that come after") if ahead else joined_late(timed)
        given = replace(settled(timed[0]), delay=delay + wait, late=late)
    if mask is not None or rows > 1 or _widths_differ(seen):
        step.give(node.outputs[0], _over_kept(step, node, seen, delay, ahead), given)
        return
    packed = _packed(step, node, seen, delay, ahead)
    assert packed.shape is not None and packed.dtype is not None
    width = number(packed.shape[2]) // 3
    capacity = _capacity(step, node, seen)
    step.kept = max(step.kept, capacity)
    kept = step.ring_type(node, packed.dtype)
    states = [step.state(node, what, [capacity, width], kept) for what in ("keys", "values")]
    attributes: dict[str, int | float] = {"num_heads": seen.heads}
    if seen.scale is not None:
        attributes["scale"] = seen.scale
    name = node.outputs[0].name or "attended"
    # with a negative place no row is filled: what is held before entry 0 is never seen
    output, *after = step.add_of(
        DOMAIN,
        "CachedAttention",
        [packed, *states, step.frames(delay)],
        [[step.batch, 1, width], *[list(s.shape or ()) for s in states]],
        name,
        attributes,
    )
    for state, value in zip(states, after, strict=True):
        value.type = state.type
        step.carry(state, value, packed, capacity - 1)
    step.give(node.outputs[0], output, given)


def _with_the_last(step: Step, node: ir.Node, seen: Attention) -> int:
    """The delay with which the last of all keys is held at the last frame; refused where it comes later."""
    delays = []
    for value in (seen.k, seen.v, seen.key_mask):
        if value is not None and isinstance(status := step.status(value), Timed):
            delays.append(-step.extra(node, value))
            if status.delay > delays[-1]:
                late = status.late or Late(node, "sees keys of frames that come after")
                step.refuse(late.node, late.needs)
    return max(delays)


def _capacity(step: Step, node: ir.Node, seen: Attention) -> int:
    """Keys that a query sees: its window, else those of the horizon and what stands in front of the frames."""
    if seen.rule.window:
        return seen.rule.window
    keys = seen.q if seen.k is None else seen.k
    in_front = max(step.extra(node, keys), 0)
    step.in_front = max(step.in_front, in_front)
    return within_horizon(step, _rows(step, keys), in_front)


def _rows(step: Step, value: ir.Value) -> int:
    """Entries of each frame; 1 of the last frame alone."""
    status = step.status(value)
    return status.rows if isinstance(status, Timed) else 1


def _is_static(step: Step, value: ir.Value) -> bool:
    """Whether no frame changes it: a static input, or what is the same for all lengths."""
    status = step.status(value)
    return isinstance(status, Fixed) or (
        isinstance(status, OfSizes) and not axes_of_time(list(value.shape or ()))
    )


def _to_static(step: Step, node: ir.Node, seen: Attention, query: Status) -> None:
    """Keys and values that no frame changes: a query sees all of them."""
    if not isinstance(query, Timed) or query.axis != 1 or seen.rule.causal or seen.rule.window:
        step.refuse(node, "compares places of frames with those of a static input")
    joined = settled(query)
    step.copy(node, whole_inputs(step, node, joined, list(node.inputs)), joined)


def _widths_differ(seen: Attention) -> bool:
    sizes = None if seen.packed else seen.layout
    return sizes is not None and sizes.head_dim != sizes.value_dim


def _in_standard_operators(
    step: Step, node: ir.Node, seen: Attention, delay: int, ahead: int
) -> tuple[ir.Value, ir.Value | None]:
    """What stands in front of the frames, the op's caches do not have. The second is what stands in front of the
    result."""
    count = _capacity(step, node, seen)
    name, group = node.outputs[0].name or "attended", seen.heads // seen.kv_heads
    rows = _parts(step, node, seen, delay, ahead)
    widths = [number(row.shape[2]) for row in rows if row.shape is not None]
    size, value_size = widths[0] // seen.heads, widths[2] // seen.kv_heads
    shapes = [[group, size], [1, size], [1, value_size]]
    q, k, v = (
        reshaped(step, row, [step.batch, seen.kv_heads, *shape], f"{name}/{what}")
        for row, shape, what in zip(rows, shapes, "qkv", strict=True)
    )
    front = rows_in_front(step, node, seen, -delay, [size, size, value_size]) if delay < 0 else None
    leads = None if front is None else (front[1], front[2])
    step.keeps_floats(node, "they begin with what stands in front of the frames")
    result = over_rings(step, node, q, k, v, count, delay, seen.scale_for(size), leads=leads)
    width = seen.heads * value_size
    result = reshaped(step, result, [step.batch, 1, width], f"{name}/rows")
    return result, None if front is None else among_themselves(
        step, seen, front, -delay, size, f"{name}/lead"
    )


def _over_kept(step: Step, node: ir.Node, seen: Attention, delay: int, ahead: int) -> ir.Value:
    """What the op with caches does not do, by the op without over the keys that are kept: several queries in a frame,
    a mask of keys, values of another width."""
    keys = seen.q if seen.k is None else seen.k
    rows, most, name = _rows(step, keys), _capacity(step, node, seen), node.outputs[0].name or "attended"
    wait = -(-ahead // rows)
    # where the first query stands among the keys of this frame
    place = rows - 1 if isinstance(step.status(seen.q), Last) else ahead - wait * rows
    count = rows + max(0, most - 1 - place)
    q, k, v = _parts(step, node, seen, delay, wait)
    if count > rows:
        assert k.dtype is not None
        kept = step.ring_type(node, k.dtype)
        k, v = (
            _as_type(step, ring(step, node, _as_type(step, x, kept), 1, count - rows, what, delay), k.dtype)
            for x, what in ((k, "keys"), (v, "values"))
        )
    mask = step.add("Not", [empty_rows(step, count, rows, delay)], [step.batch, count], f"{name}/filled")
    if seen.key_mask is not None:
        flags = step.held(seen.key_mask, delay)
        if count > rows:
            flags = ring(step, node, flags, 1, count - rows, "seen", delay)
        mask = step.add("And", [mask, flags], [step.batch, count], f"{name}/seen")
    assert q.shape is not None and v.shape is not None
    attributes = {key: a.value for key, a in node.attributes.items()}
    alone = q.shape[1] == 1 and count == most  # one query sees all that is kept
    attributes |= {
        "causal": int(not alone),
        "window": 0 if alone else most,
        "query_offset": place + count - rows,
    }
    width = number(v.shape[2]) // seen.kv_heads * seen.heads
    dims = [step.batch, q.shape[1], width]
    (output,) = step.add_of(DOMAIN, node.op_type, [q, k, v, mask], [dims], name, attributes)
    return output


def _as_type(step: Step, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    if value.dtype == dtype:
        return value
    name = f"{value.name}/{dtype.name.lower()}"
    return step.add("Cast", [value], list(value.shape or ()), name, {"to": dtype.value}, dtype=dtype)


def _parts(step: Step, node: ir.Node, seen: Attention, delay: int, ahead: int) -> list[ir.Value]:
    """The query of the frame `ahead` frames before, key and value of the frame, `[batch, rows, width]` each."""
    if not seen.packed:
        assert seen.k is not None and seen.v is not None
        return [step.held(seen.q, delay + ahead), step.held(seen.k, delay), step.held(seen.v, delay)]
    here, edges = [step.held(seen.q, delay + late) for late in (ahead, 0, 0)], seen.edges
    rows = _rows(step, seen.q)
    return [
        step.add(
            "Slice",
            [each, step.integers(a), step.integers(b), step.integers(2)],
            [step.batch, rows, b - a],
            f"{node.outputs[0].name}/packed/{what}",
        )
        for what, each, a, b in zip("qkv", here, edges[:-1], edges[1:], strict=True)
    ]


def _packed(step: Step, node: ir.Node, seen: Attention, delay: int, ahead: int) -> ir.Value:
    """Keys and values of the frame beside the query of the one `ahead` frames before, `[batch, 1, 3*C]`."""
    if not ahead and seen.packed and seen.heads == seen.kv_heads:
        return step.held(seen.q, delay)
    name = f"{node.outputs[0].name}/packed"
    q, k, v = _parts(step, node, seen, delay, ahead)
    assert q.shape is not None and k.shape is not None and v.shape is not None
    width = number(q.shape[2])
    if seen.heads != seen.kv_heads:
        size = width // seen.heads
        heads = np.repeat(np.arange(seen.kv_heads), seen.heads // seen.kv_heads)
        columns = step.constant(f"{name}/columns", (heads[:, None] * size + np.arange(size)).reshape(-1))
        k, v = (
            step.add("Gather", [x, columns], [step.batch, 1, width], f"{name}/each_{what}", {"axis": 2})
            for what, x in (("k", k), ("v", v))
        )
    return step.add("Concat", [q, k, v], [step.batch, 1, 3 * width], name, {"axis": 2})


def blocks(step: Step, node: ir.Node) -> None:
    """Keys and values of the current block, sums over those before and over this one so far."""
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    seen = BlockLinearAttributes.parse(given)
    values = [v for v in node.inputs if v is not None]
    timed = [s for v in values if isinstance(s := step.status(v), Timed)]
    if len(timed) != len(values) or any(s.newest or s.merged or s.axis != 1 for s in timed):
        step.refuse(node, "attends to something else than the frames as they come")
    delay = max(0, *(s.delay for s in timed))
    here = [step.held(v, delay) for v in values]
    widths = [number(v.shape[2]) for v in here if v.shape is not None]
    width = sum(widths) // 3
    name = node.outputs[0].name or "attended"
    packed = here[0]
    if len(here) > 1:
        packed = step.add("Concat", here, [step.batch, 1, 3 * width], f"{name}/packed", {"axis": 2})
    assert packed.dtype is not None
    size = width // seen.num_heads
    if not math.isclose(seen.scale_for(size), size**-0.5, rel_tol=1e-6):
        step.refuse(node, "has a scale of its own, which its cache does not have")
    step.kept = max(step.kept, seen.block_size)
    step.told.append(
        f"past {seen.block_size} frames linear attention over the blocks before is at work, whatever --seq is"
    )
    step.keeps_floats(node, "they are of blocks, whose sums take them as they come")
    rows, sums = [seen.block_size, width], [seen.num_heads, size, size + 1]
    kept = {"keys": rows, "values": rows, "earlier": sums, "block": sums, "lost": sums}
    states = [step.state(node, what, shape, packed.dtype) for what, shape in kept.items()]
    attributes = {key: value for key, value in given.items() if key not in ("block_size", "scale")}
    output, *after = step.add_of(
        DOMAIN,
        "CachedBlockLinearAttention",
        [packed, *states, step.frames(delay)],
        [[step.batch, 1, width], *[list(s.shape or ()) for s in states]],
        name,
        attributes,
    )
    for state, value in zip(states, after, strict=True):
        step.carry(state, kept_until(step, state, value, delay))
    step.give(node.outputs[0], output, replace(settled(timed[0]), delay=delay))
