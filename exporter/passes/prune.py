"""Compute only the positions that reach the output.

A model that returns its last position needs, in its last block, keys and values everywhere but queries, gates,
normalisation and feed-forward only there; and where windows are shorter than the sequence, early positions of
early blocks reach nothing at all. Both are one rule: a value is needed for the last `count` entries of one axis,
and every operator says what that takes of its inputs. The rewrite is exact: it removes work, never terms of a sum.

The demand spreads backward from the place that selects the last position; what no rule covers is needed whole.
A symbolic length is cut to a tail that its smallest value still fills, so that sizes stay known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph.initializers import initializer
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.passes.single_block import as_softmax_attention, is_single_block
from temport.exporter.passes.unpack_qkv import is_packed, unpack_qkv

ELEMENTWISE = {
    "Add", "Cast", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "Identity", "Max", "Min", "Mul", "Neg", "Pow",
    "Reciprocal", "Relu", "Sigmoid", "Sqrt", "Sub", "Tanh",
}  # fmt: skip
TO_THE_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Tail:
    """The last `count` entries along `axis`."""

    axis: int
    count: int


@dataclass
class Plan:
    """What a graph needs: the tail of each input of each node, and the outputs that get shorter by it.

    smallest   the smallest value of each symbolic size, by name
    """

    smallest: Mapping[str, int]
    inputs: dict[tuple[ir.Node, int], Tail] = field(default_factory=dict)
    outputs: dict[ir.Value, Tail] = field(default_factory=dict)


def prune(model: ir.Model, smallest: Mapping[str, int]) -> bool:
    """Trim `model` in place; False where there is nothing to trim. Run it before bodies are attached.

    `smallest` gives the smallest value of each symbolic size that may be cut.
    """
    graph = model.graph
    plan = _plan(graph, smallest)
    single = [n for n in graph if is_single_block(n) and _is_cut(plan, n.outputs[0])]
    for node in single:
        as_softmax_attention(graph, node)
    if single:
        plan = _plan(graph, smallest)
    packed = [n for n in graph if _is_attention(n) and is_packed(n) and n.outputs[0] in plan.outputs]
    for node in packed:
        unpack_qkv(graph, node)
    if packed:
        common.RemoveUnusedNodesPass()(model)  # the packed projections, which nobody asks for anything now
        plan = _plan(graph, smallest)
    for node in list(graph):
        _apply(graph, plan, node)
    common.RemoveUnusedNodesPass()(model)
    return bool(plan.outputs)


def _plan(graph: ir.Graph, smallest: Mapping[str, int]) -> Plan:
    plan = Plan(smallest)
    asked: dict[ir.Value, Tail | None] = {value: None for value in graph.outputs}
    for node in reversed(list(graph)):
        tail = _asked_of(node, asked)
        demands = {i: _demand(plan, node, i, v, tail) for i, v in enumerate(node.inputs) if v is not None}
        plan.inputs |= {(node, i): demand for i, demand in demands.items() if demand is not None}
        if tail is not None and _shortens(plan, node, tail, demands):
            plan.outputs[node.outputs[0]] = tail
        for i, demand in demands.items():
            value = node.inputs[i]
            assert value is not None
            asked[value] = _merge(asked[value], demand) if value in asked else demand
    return plan


def _shortens(plan: Plan, node: ir.Node, tail: Tail, demands: Mapping[int, Tail | None]) -> bool:
    """Whether the node's output gets shorter; attention has as many rows as queries, whatever keys it needs."""
    output = node.outputs[0]
    known = _is_known(plan, output, tail) if _is_attention(node) else any(demands.values())
    return known and _is_longer(output, tail)


def _is_cut(plan: Plan, value: ir.Value) -> bool:
    """Whether every consumer wants less than the whole of `value`."""
    tails = [plan.inputs.get((use.node, use.idx)) for use in value.uses()]
    return bool(tails) and all(tail is not None and _is_longer(value, tail) for tail in tails)


def _asked_of(node: ir.Node, asked: dict[ir.Value, Tail | None]) -> Tail | None:
    """The tail that consumers want of the node's only used output; None for all of it."""
    return asked.get(node.outputs[0]) if len([v for v in node.outputs if v.uses()]) == 1 else None


def _merge(one: Tail | None, other: Tail | None) -> Tail | None:
    """What serves both demands; tails along different axes add up to everything."""
    if one is None or other is None or one.axis != other.axis:
        return None
    return max(one, other, key=lambda tail: tail.count)


def _demand(plan: Plan, node: ir.Node, index: int, value: ir.Value, tail: Tail | None) -> Tail | None:
    """What `tail` of the output takes of input `index`; None for all of it."""
    demand = _rule(node, index, value, tail)
    return demand if demand is not None and _is_known(plan, value, demand) else None


def _rule(node: ir.Node, index: int, value: ir.Value, tail: Tail | None) -> Tail | None:
    """The operator rules."""
    output = node.outputs[0]
    if value.shape is None or output.shape is None or value.const_value is not None:
        return None
    if is_standard(node, "Gather"):
        return Tail(_gather_axis(node), 1) if index == 0 and _selects_last(node) else None
    if tail is None:
        return None
    if _is_attention(node):
        explicit = node.attributes["query_offset"].as_int() != -1
        if tail.axis != 1 or index > 2 or (explicit and _size(output, 1) == 0):
            return None
        if index == 0 and not is_packed(node):
            return tail
        keys = _keys_for(node, tail.count)
        return None if keys is None else Tail(1, keys)
    if not is_standard(node):
        return None
    if node.op_type in ELEMENTWISE:
        axis = tail.axis - len(output.shape) + len(value.shape)
        if not all(_fits(other, output, tail.axis) for other in node.inputs if other is not None):
            return None
        # an input with one entry for all positions is broadcast, and stays as it is
        return Tail(axis, tail.count) if axis >= 0 and value.shape[axis] == output.shape[tail.axis] else None
    if node.op_type == "MatMul":
        weights = node.inputs[1]
        rows = index == 0 and tail.axis < len(output.shape) - 1 and len(value.shape) == len(output.shape)
        return tail if rows and weights is not None and weights.const_value is not None else None
    if node.op_type == "LayerNormalization":
        first = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
        return tail if index == 0 and first % len(value.shape) > tail.axis else None
    if node.op_type == "Transpose":
        return Tail(node.attributes["perm"].as_ints()[tail.axis], tail.count)
    return None


def _is_attention(node: ir.Node) -> bool:
    return node.domain == "temport" and node.op_type == "OnlineSoftmaxAttention"


def _gather_axis(node: ir.Node) -> int:
    return node.attributes["axis"].as_int() if "axis" in node.attributes else 0


def _selects_last(node: ir.Node) -> bool:
    data, index = node.inputs[0], node.inputs[1]
    if data is None or data.shape is None or index is None or index.const_value is None:
        return False
    size, position = data.shape[_gather_axis(node)], index.const_value.numpy()
    ends = (-1, size - 1) if isinstance(size, int) else (-1,)
    return size != 1 and position.ndim == 0 and int(position) in ends


def _keys_for(node: ir.Node, queries: int) -> int | None:
    """How many trailing keys the last `queries` queries may see; None for all of them."""
    window = node.attributes["window"].as_int()
    unlimited = node.attributes["query_offset"].as_int() != -1 or not window
    return None if unlimited else queries + window - 1


def _apply(graph: ir.Graph, plan: Plan, node: ir.Node) -> None:
    """Shorten the inputs of one node as planned; nodes come in topological order."""
    output = node.outputs[0]
    tail = plan.outputs.get(output)
    before = {i: v for i, v in enumerate(node.inputs) if v is not None}
    for index, value in before.items():
        demand = plan.inputs.get((node, index))
        if demand is not None:
            node.replace_input_with(index, _last(graph, value, demand, node))
        elif tail is not None and node.op_type in ELEMENTWISE and value.const_value is not None:
            node.replace_input_with(index, _last_of_table(graph, value, output, tail))
    if node.op_type == "Gather" and (node, 0) in plan.inputs:
        # counted from the end, since the data may be shorter now
        node.replace_input_with(1, initializer(graph, f"{output.name}_last", np.array(-1, np.int64)))
    if tail is None:
        return
    if _is_attention(node) and node.attributes["query_offset"].as_int() != -1:
        # an explicit alignment counts from the first query, which is now a later one
        later = node.attributes["query_offset"].as_int() + _size(output, 1) - tail.count
        node.attributes["query_offset"] = ir.AttrInt64("query_offset", later)
    output.shape = _with_size(output, tail)


def _last_of_table(graph: ir.Graph, table: ir.Value, output: ir.Value, tail: Tail) -> ir.Value:
    """The last rows of a baked table that has one per position; any other constant as it is."""
    assert table.const_value is not None and output.shape is not None
    array = table.const_value.numpy()
    axis = tail.axis - len(output.shape) + array.ndim
    length = _size(output, tail.axis)
    if axis < 0 or array.shape[axis] != length:
        return table
    rows = np.take(array, np.arange(length - tail.count, length), axis=axis)
    return initializer(graph, f"{table.name}_last{tail.count}", rows)


def _last(graph: ir.Graph, value: ir.Value, tail: Tail, before: ir.Node) -> ir.Value:
    """The `tail` of `value`, cut once and shared; `value` itself where it has no more than that."""
    if _size(value, tail.axis) == tail.count:
        return value
    name = f"{value.name}_last{tail.count}"
    for consumer, _ in value.uses():
        if consumer.outputs[0].name == name:
            return consumer.outputs[0]
    bounds = {"start": -tail.count, "stop": TO_THE_END, "axis": tail.axis}
    constants = [initializer(graph, f"{name}_{k}", np.array([n], np.int64)) for k, n in bounds.items()]
    cut = ir.Value(name=name, type=value.type, shape=_with_size(value, tail))
    graph.insert_before(before, ir.node("Slice", [value, *constants], outputs=[cut], name=name))
    return cut


def _fits(value: ir.Value, output: ir.Value, axis: int) -> bool:
    """Whether an operand surely has as many entries as the output along its `axis`, or one for all of them."""
    assert output.shape is not None
    if value.shape is None:
        return False
    own = axis - len(output.shape) + len(value.shape)
    return own < 0 or value.shape[own] in (1, output.shape[axis])


def _is_known(plan: Plan, value: ir.Value, tail: Tail) -> bool:
    """Whether `value` surely has the entries of the tail."""
    size = value.shape[tail.axis] if value.shape is not None else None
    least = (
        size if isinstance(size, int) else plan.smallest.get(str(size.value) if size is not None else "", 0)
    )
    return tail.count <= least


def _is_longer(value: ir.Value, tail: Tail) -> bool:
    """Whether a value that has the entries of the tail may have more."""
    size = value.shape[tail.axis] if value.shape is not None else 0
    return tail.count < size if isinstance(size, int) else True


def _size(value: ir.Value, axis: int) -> int:
    """Entries along `axis`, 0 where that is symbolic."""
    size = value.shape[axis] if value.shape is not None else 0
    return size if isinstance(size, int) else 0


def _with_size(value: ir.Value, tail: Tail) -> ir.Shape:
    assert value.shape is not None
    return ir.Shape([tail.count if i == tail.axis else d for i, d in enumerate(value.shape)])
