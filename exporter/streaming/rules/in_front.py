"""Attention of what stands in front of the frames: learned tokens, which the frames see and which see one another."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.custom_ops.mask import MaskRule
from temport.exporter.graph.attention import Attention
from temport.exporter.streaming.rules.aged import LOWEST
from temport.exporter.streaming.rules.along import lead_of
from temport.exporter.streaming.states import rows_of_lead
from temport.exporter.streaming.status import Last
from temport.exporter.streaming.step import Step


def rows_in_front(
    step: Step, node: ir.Node, seen: Attention, count: int, sizes: list[int]
) -> tuple[ir.Value, ...]:
    """Query, key and value of the `count` rows in front of the frames, `[..., heads, count, size]` each."""
    name = f"{node.outputs[0].name}/front"
    if seen.packed:
        front, edges = lead_of(step, seen.q), seen.edges
        leads = [
            _folded(
                step, "Slice", [front, step.integers(a), step.integers(b), step.integers(2)], f"{name}/{what}"
            )
            for what, a, b in zip("qkv", edges[:-1], edges[1:], strict=True)
        ]
    else:
        query = (
            seen.k if isinstance(step.status(seen.q), Last) else seen.q
        )  # of the last frame it is not needed
        leads = [lead_of(step, value) for value in (query, seen.k, seen.v)]
    found = []
    for what, lead, size in zip("qkv", leads, sizes, strict=True):
        rows = rows_of_lead(step, lead, 1, 3, count, f"{name}/{what}")
        apart = _folded(
            step, "Reshape", [rows, step.integers(-1, count, seen.heads, size)], f"{name}/{what}/apart"
        )
        found.append(_folded(step, "Transpose", [apart], f"{name}/{what}/by_head", {"perm": [0, 2, 1, 3]}))
    return tuple(found)


def among_themselves(
    step: Step, seen: Attention, front: tuple[ir.Value, ...], count: int, size: int, name: str
) -> ir.Value:
    """What attention gives for the rows in front of the frames, which see those in front of them."""
    q, k, v = front
    if count > 1:
        rule = MaskRule(causal=True, window=seen.rule.window)
        assert q.dtype is not None
        kind = q.dtype.numpy()
        scale = step.constant(f"{name}/scale", seen.scale_for(size), kind)
        mask = step.constant(f"{name}/mask", np.where(rule.array(count, count), 0, LOWEST), kind)
        turned = _folded(step, "Transpose", [k], f"{name}/turned", {"perm": [0, 1, 3, 2]})
        scores = _folded(
            step, "MatMul", [_folded(step, "Mul", [q, scale], f"{name}/scaled"), turned], f"{name}/scores"
        )
        masked = _folded(step, "Add", [scores, mask], f"{name}/masked")
        v = _folded(
            step,
            "MatMul",
            [_folded(step, "Softmax", [masked], f"{name}/weights", {"axis": -1}), v],
            f"{name}/sum",
        )
    rows = _folded(step, "Transpose", [v], f"{name}/rows_first", {"perm": [0, 2, 1, 3]})
    return _folded(step, "Reshape", [rows, step.integers(0, count, -1)], name)


def _folded(
    step: Step, op: str, inputs: list[ir.Value], name: str, attributes: dict[str, object] | None = None
) -> ir.Value:
    """A node of what stands in front of the frames: it is folded, and may have size 1 anywhere."""
    value = step.add(op, inputs, [], name, attributes)
    value.shape = None
    return value
