"""Sums and averages of the frames so far: their last value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from temport.exporter.streaming.joining import settled
from temport.exporter.streaming.positions import always
from temport.exporter.streaming.states import kept_until, store, stored
from temport.exporter.streaming.status import OfSizes, Timed
from temport.exporter.streaming.step import Step


def running_sum(step: Step, node: ir.Node) -> None:
    data, axis = node.inputs
    assert data is not None and data.shape is not None and axis is not None
    status, place = step.status(data), always(step, node, axis)
    if isinstance(status, OfSizes) or place is None:
        step.refuse(node, "sums positions together with something else")
    along = int(place.reshape(-1)[0]) % len(data.shape)
    if not isinstance(status, Timed) or status.axis != along:
        status = settled(status) if isinstance(status, Timed) else status
        step.copy(node, [step.held(data), step.raw(axis)], status)
        return
    if status.merged or status.newest:
        step.refuse(node, "sums what changes with every frame")
    if "reverse" in node.attributes and node.attributes["reverse"].as_int():
        step.refuse(node, "sums from the last frame on")
    here, delay = step.held(data), max(status.delay, 0)
    assert here.shape is not None and here.dtype is not None
    (output,) = node.outputs
    if status.rows > 1:
        _sums_within(step, node, here, replace(status, delay=delay))
        return
    sums, after = added(step, node, here, delay)
    exclusive = "exclusive" in node.attributes and node.attributes["exclusive"].as_int()
    step.give(output, sums if exclusive else after, replace(status, delay=delay))


def _sums_within(step: Step, node: ir.Node, here: ir.Value, status: Timed) -> None:
    """Of several entries for each frame: their own sums, on the sum of the frames before."""
    assert here.shape is not None
    (output,), dims = node.outputs, list(here.shape)
    axis = step.integers(status.axis)
    one = [1 if i == status.axis else d for i, d in enumerate(dims)]
    name = output.name or "sum"
    frame = step.add("ReduceSum", [here, axis], one, f"{name}/frame", {"keepdims": 1})
    sums, _ = added(step, node, frame, status.delay)
    attributes = {key: a.value for key, a in node.attributes.items()}
    along = step.constant(f"{name}/along", status.axis)
    within = step.add("CumSum", [here, along], dims, f"{name}/within", attributes)
    step.give(output, step.add("Add", [sums, within], dims, f"{name}/so_far"), status)


def added(step: Step, node: ir.Node, here: ir.Value, delay: int) -> tuple[ir.Value, ir.Value]:
    """The sum before this frame and with it: what rounding loses is kept beside it (Kahan), so a long sum does not
    drift."""
    assert here.shape is not None and here.dtype is not None
    dims, name = list(here.shape), node.outputs[0].name or "sum"
    before, sums = stored(step, node, dims, here.dtype, "sum")
    if here.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        after = step.add("Add", [sums, here], dims, name)
        store(step, before, after, delay)
        return sums, after
    lost_before, lost = stored(step, node, dims, here.dtype, "lost")
    more = step.add("Sub", [here, lost], dims, f"{name}/more")
    after = step.add("Add", [sums, more], dims, name)
    grown = step.add("Sub", [after, sums], dims, f"{name}/grown")
    store(step, before, after, delay)
    store(step, lost_before, step.add("Sub", [grown, more], dims, f"{name}/lost"), delay)
    return sums, after


def average(step: Step, node: ir.Node) -> None:
    """`h = a h + b x`, where the two kernels say powers of one decay."""
    data, near, far = node.inputs
    assert data is not None and near is not None and far is not None
    status = step.status(data)
    if not isinstance(status, Timed):
        step.refuse(node, "averages something else than frames")
    if near.const_value is None or far.const_value is None or status.newest or status.merged:
        step.refuse(node, "averages with weights that change")
    weights = _decay(near.const_value.numpy(), far.const_value.numpy())
    if weights is None:
        step.refuse(node, "averages with weights that are no powers of one decay")
    decay, share = weights
    here, delay = step.held(data), max(status.delay, 0)
    assert here.dtype is not None and status.axis == 1
    (output,) = node.outputs
    name, row = output.name or "average", [step.batch, len(decay)]
    factors = [
        step.constant(f"{name}/{what}", array, np.float32)
        for what, array in (("decay", decay), ("share", share))
    ]
    # rows in place of frames of one row, as dense layers have them
    new = step.add("Mul", [here, factors[1]], [step.batch, 1, len(decay)], f"{name}/new")
    new = step.add("Squeeze", [new, step.integers(1)], row, f"{name}/row")
    before = step.state(node, "average", row[1:], here.dtype)
    kept = step.add("Mul", [before, factors[0]], row, f"{name}/kept")
    after = step.add("Add", [kept, new], row, f"{name}/after")
    step.carry(before, kept_until(step, before, after, delay))
    frame = step.add("Unsqueeze", [after, step.integers(1)], [step.batch, 1, len(decay)], name)
    step.give(output, frame, replace(status, delay=delay, lead=None))


def _decay(near: np.ndarray, far: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Decay and share of each channel, if tap i of `near` is share * decay^i and tap j of `far` decay^(taps * j)."""
    first, second = (taps.reshape(len(taps), -1)[:, ::-1].astype(np.float64) for taps in (near, far))
    count = first.shape[1]
    if count < 2 or not (first > 0).all():
        return None
    share = first[:, 0] * second[:, 0]
    # the longest age in float32 says the decay best
    decay = (first[:, -1] / first[:, 0]) ** (1 / (count - 1))
    if (second[:, 1] > 1e-30).all():
        decay = (second[:, 1] / second[:, 0]) ** (1 / count)
    ages = np.arange(count)
    expected = first[:, :1] * decay[:, None] ** ages, second[:, :1] * decay[:, None] ** (count * ages)
    fits = all(
        np.allclose(e, w, rtol=1e-5, atol=1e-9) for e, w in zip(expected, (first, second), strict=True)
    )
    return (decay, share) if fits else None
