"""Attention in standard operators over rings whose rows stand by age: what is added by distance, and what stands in
front of the frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.graph.plain_attention import Operand, PlainAttention
from temport.exporter.streaming.ages import Ages
from temport.exporter.streaming.joining import settled
from temport.exporter.streaming.shapes import Size, number
from temport.exporter.streaming.states import beside_last, empty_rows, ring, within_horizon
from temport.exporter.streaming.status import Late, Timed
from temport.exporter.streaming.step import Step

LOWEST = float(np.finfo(np.float32).min)
"""The score of a key that is not seen."""


def aged_attention(step: Step, plain: PlainAttention, ages: Ages) -> None:
    """Attention that torch code writes out, of frames to frames."""
    node = plain.node
    step.keeps_floats(node, "the module writes this attention out")
    operands = (plain.q, plain.k, plain.v)
    found = [(operand, step.status(operand.value)) for operand in operands]
    timed = [status for _, status in found if isinstance(status, Timed)]
    places = [_order(operand)[-2] for operand in operands]
    if [s.axis for s in timed] != places or any(
        s.newest or s.merged or s.rows != timed[0].rows for s in timed
    ):
        step.refuse(node, "attends to something else than the frames as they come")
    delay = max(0, *(s.delay for s in timed))
    rows = timed[0].rows
    most = rows * ages.window if ages.window else within_horizon(step, rows)
    count = most if ages.window else most + rows - 1
    name = node.outputs[0].name or "attended"
    q, k, v = (
        _turned(step, step.held(operand.value, delay + late), operand, f"{name}/{what}")
        for operand, late, what in zip(operands, (ages.ahead, 0, 0), "qkv", strict=True)
    )
    assert q.shape is not None
    scale = number(q.shape[-1]) ** -0.5 if plain.scale is None else plain.scale
    added = ages.of_kept(count, most)
    result = over_rings(step, node, q, k, v, count, delay, scale, added)
    if plain.perm is not None:
        dims = [list(result.shape or ())[axis] for axis in plain.perm]
        result = step.add("Transpose", [result], dims, f"{name}/turned", {"perm": list(plain.perm)})
    place = (plain.perm or tuple(range(len(result.shape or ())))).index(len(result.shape or ()) - 2)
    status = replace(settled(timed[0]), axis=place, delay=delay + ages.ahead)
    if ages.ahead:
        status = replace(status, late=Late(node, f"sees {ages.ahead} frames that come after"))
    step.give(node.outputs[0], result, status)


def over_rings(
    step: Step,
    node: ir.Node,
    q: ir.Value,
    k: ir.Value,
    v: ir.Value,
    count: int,
    delay: int,
    scale: float,
    added: npt.NDArray[Any] | None = None,
    leads: tuple[ir.Value, ir.Value] | None = None,
) -> ir.Value:
    """`softmax(scale * q K^T + added) V` over the last `count` keys, oldest first.

    q, k, v   of this frame, `[..., queries, D]`, `[..., rows, D]`, `[..., rows, Dv]`, held with `delay`
    added     `[..., queries, count]`, or 1 in place of queries, -inf for what is not seen
    leads     key and value of what stands in front of the frames, as often as `delay` is below 0
    """
    assert q.shape is not None and k.shape is not None and v.shape is not None and q.dtype is not None
    name, kind, rank = node.outputs[0].name or "attended", q.dtype.numpy(), len(q.shape)
    keys, values, rows = k, v, number(k.shape[-2])
    if count > rows:
        in_front = leads or (None, None)
        keys = ring(step, node, k, rank - 2, count - rows, "keys", delay, in_front[0])
        values = ring(step, node, v, rank - 2, count - rows, "values", delay, in_front[1])
    assert keys.shape is not None
    turned_dims = [*keys.shape[:-2], keys.shape[-1], keys.shape[-2]]
    perm = [*range(rank - 2), rank - 1, rank - 2]
    turned = step.add("Transpose", [keys], turned_dims, f"{name}/turned_keys", {"perm": perm})
    factor = step.constant(f"{name}/scale", scale, kind)
    scaled = step.add("Mul", [q, factor], list(q.shape), f"{name}/scaled")
    dims: list[Size] = [*q.shape[:-1], count]
    scores = step.add("MatMul", [scaled, turned], dims, f"{name}/scores")
    if added is not None and np.any(added):
        table = step.constant(f"{name}/by_age", np.maximum(added, LOWEST), kind)
        scores = step.add("Add", [scores, table], dims, f"{name}/aged")
    blocked = beside_last(step, empty_rows(step, count, rows, delay), dims, f"{name}/blocked/axes")
    lowest = step.constant(f"{name}/lowest", LOWEST, kind)
    scores = step.add("Where", [blocked, lowest, scores], dims, f"{name}/seen", dtype=q.dtype)
    weights = step.add("Softmax", [scores], dims, f"{name}/weights", {"axis": -1})
    return step.add("MatMul", [weights, values], [*q.shape[:-1], v.shape[-1]], f"{name}/product")


def _order(operand: Operand) -> tuple[int, ...]:
    return operand.perm or tuple(range(len(operand.value.shape or ())))


def _turned(step: Step, here: ir.Value, operand: Operand, name: str) -> ir.Value:
    if operand.perm is None:
        return here
    dims = [list(here.shape or ())[axis] for axis in operand.perm]
    return step.add("Transpose", [here], dims, name, {"perm": list(operand.perm)})
