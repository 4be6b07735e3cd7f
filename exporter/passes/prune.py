"""Compute only the positions that reach the output.

A model that returns its last position needs, in its last block, keys and values everywhere but queries, gates,
normalisation and feed-forward only there; and where windows are shorter than the sequence, early positions of
early blocks reach nothing at all. Both are one rule: a value is needed for the last `count` entries of one axis,
and every operator says what that takes of its inputs. The rewrite is exact: it removes work, never terms of a sum.

The demand spreads backward from the place that selects the last positions. What no rule covers is needed whole, and
so is what a graph inside reads; where that keeps work that a rule would save, the pass says so. A symbolic length is
cut to a tail that its smallest value still fills, so that sizes stay known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph import operators
from temport.exporter.graph.attention import Attention
from temport.exporter.graph.edit import TO_THE_END, cut, initializer, named
from temport.exporter.graph.masks import LAST
from temport.exporter.graph.operator_row import Along
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.graph.tails import Tail, behind_moves, has_rule, selected, tail_of_input
from temport.exporter.passes.notes import Notes
from temport.exporter.passes.single_block import as_softmax_attention, is_single_block
from temport.exporter.passes.unpack_qkv import unpack_qkv

SAVES_WORK = {Along.EACH, Along.ROWS, Along.FROM_AXIS, Along.CUT, Along.RENAMED, Along.PERMUTED}
"""Where the last entries of the output take the last ones of an input, but for what a rule does not cover."""


@dataclass
class Plan:
    """What a graph needs: the tail of each input of each node, and the outputs that get shorter by it.

    smallest   the smallest value of each symbolic size, by name
    asked      the tail of each value that serves all who take it; None for the whole
    selected   the tail of its first input that a node picks
    """

    smallest: Mapping[str, int]
    inputs: dict[tuple[ir.Node, int], Tail] = field(default_factory=dict)
    outputs: dict[ir.Value, Tail] = field(default_factory=dict)
    asked: dict[ir.Value, Tail | None] = field(default_factory=dict)
    selected: dict[ir.Node, Tail] = field(default_factory=dict)


def prune(model: ir.Model, smallest: Mapping[str, int], notes: Notes | None = None) -> bool:
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
    attentions = [found for node in graph if (found := Attention.of(node)) is not None]
    packed = [x for x in attentions if x.packed and x.node.outputs[0] in plan.outputs]
    for attention in packed:
        unpack_qkv(graph, attention)
    if packed:
        common.RemoveUnusedNodesPass()(model)  # the packed projections, which nobody asks for anything now
        plan = _plan(graph, smallest)
    for node in graph:
        _say_what_is_given_up(plan, node, notes)
    for node in list(graph):
        _apply(graph, plan, node)
    common.RemoveUnusedNodesPass()(model)
    return bool(plan.outputs)


def _plan(graph: ir.Graph, smallest: Mapping[str, int]) -> Plan:
    plan = Plan(smallest)
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    whole = (v for v in values if v.is_graph_output() or any(use.node.graph is not graph for use in v.uses()))
    asked = plan.asked
    asked |= dict.fromkeys(whole)
    for node in reversed(list(graph)):
        tail = _asked_of(node, asked)
        demands = _demands(plan, node, tail)
        plan.inputs |= {(node, i): demand for i, demand in demands.items() if demand is not None}
        if tail is not None and node not in plan.selected and _shortens(plan, node, tail, demands):
            plan.outputs |= dict.fromkeys(node.outputs, tail)
        for i, demand in demands.items():
            value = node.inputs[i]
            assert value is not None
            asked[value] = _merge(asked[value], demand) if value in asked else demand
    return plan


def _demands(plan: Plan, node: ir.Node, tail: Tail | None) -> dict[int, Tail | None]:
    """What `tail` of the outputs takes of each input; None for all of it."""
    inputs = {i: value for i, value in enumerate(node.inputs) if value is not None}
    demands: dict[int, Tail | None] = dict.fromkeys(inputs)
    picked = selected(node)
    if picked is not None and _is_known(plan, inputs[0], picked):
        plan.selected[node] = picked
        demands[0] = picked
    elif tail is not None:
        wanted = {i: tail_of_input(node, i, tail) for i in inputs}
        demands = {i: t if t is None or _is_known(plan, inputs[i], t) else None for i, t in wanted.items()}
        # operands of one length are cut together or not at all; the rows of queries and of keys are two lengths
        for length in ([0], [1, 2, 3]) if operators.of(node).along is Along.QUERIES else (list(inputs),):
            if any(wanted.get(i) is not None and demands[i] is None for i in length):
                demands |= {i: None for i in length if i in demands}
    return demands


def _shortens(plan: Plan, node: ir.Node, tail: Tail, demands: Mapping[int, Tail | None]) -> bool:
    """Whether the node's outputs get shorter; attention has as many rows as queries, whatever keys it needs."""
    output, attention = node.outputs[0], Attention.of(node)
    if attention is None:
        return any(demands.values()) and _is_longer(output, tail)
    # where the first query stands is a number; where a later one does is none at an open length
    placed = attention.rule.query_offset is None or _size(output, 1) > 0
    return placed and _is_known(plan, output, tail) and _is_longer(output, tail)


def _is_cut(plan: Plan, value: ir.Value) -> bool:
    """Whether every consumer wants less than the whole of `value`."""
    tails = [plan.inputs.get((use.node, use.idx)) for use in value.uses()]
    return bool(tails) and all(tail is not None and _is_longer(value, tail) for tail in tails)


def _asked_of(node: ir.Node, asked: Mapping[ir.Value, Tail | None]) -> Tail | None:
    """The tail that serves whoever takes any of the node's outputs; None for all of them."""
    used = [asked[value] for value in node.outputs if value in asked]
    if not used:
        return None
    tail = used[0]
    for other in used[1:]:
        tail = _merge(tail, other)
    return tail


def _merge(one: Tail | None, other: Tail | None) -> Tail | None:
    """What serves both demands; tails along different axes add up to everything."""
    if one is None or other is None or one.axis != other.axis:
        return None
    return max(one, other, key=lambda tail: tail.count)


def _say_what_is_given_up(plan: Plan, node: ir.Node, notes: Notes | None) -> None:
    """A node whose last entries alone are asked for, and that computes them all because no rule says more."""
    tail, output = _asked_of(node, plan.asked), node.outputs[0]
    if notes is None or tail is None or output.shape is None or not _is_longer(output, tail):
        return
    if operators.of(node).moves and node.inputs[0] is not None:
        source = behind_moves(node.inputs[0])
        if source is None or operators.of(source).along is Along.ALL:
            return  # there is no work behind it that could be less
        node = node if has_rule(source) else source
    flowing = [i for i, v in enumerate(node.inputs) if v is not None and v.const_value is None]
    if not flowing:
        return
    if operators.known(node) is None:
        why = "has no row in the operator table"
    elif not has_rule(node):
        why = "has no rule along time in the operator table"
    elif operators.of(node).along in SAVES_WORK and all((node, i) not in plan.inputs for i in flowing):
        why = "is used in a way that its rule along time does not cover"
    else:
        return
    much = f"the last {tail.count} are" if tail.count > 1 else "the last one is"
    size, place = output.shape[tail.axis], "" if tail.axis == 1 else f" along axis {tail.axis}"
    notes.add("prune", node, f"{why}, so all {size} frames of it are computed{place} where {much} asked for")


def _apply(graph: ir.Graph, plan: Plan, node: ir.Node) -> None:
    """Shorten the inputs of one node as planned; nodes come in topological order."""
    if node in plan.selected:
        _select_from_the_end(graph, node, plan.selected[node])
        return
    output = node.outputs[0]
    tail = plan.outputs.get(output)
    attention = Attention.of(node)
    for index, value in enumerate(node.inputs):
        demand = plan.inputs.get((node, index))
        if value is None:
            continue
        if demand is not None:
            node.replace_input_with(index, _last(graph, value, demand, node))
        elif tail is not None and value.const_value is not None and _takes_tables(node):
            node.replace_input_with(index, _last_of_table(graph, value, output, tail))
    if tail is None:
        return
    if attention is not None and attention.rule.query_offset is not None:
        # an explicit alignment counts from the first query, which is now a later one
        attention.place_queries(attention.rule.query_offset + _size(output, 1) - tail.count)
    if is_standard(node, "Reshape"):
        _shape_with_size(graph, node, tail)
    for value in node.outputs:
        if value.shape is not None:
            value.shape = _with_size(value, tail)


def _shape_with_size(graph: ir.Graph, node: ir.Node, tail: Tail) -> None:
    """The size among the constants that say the shape, where it is a number there."""
    given = node.inputs[1]
    assert given is not None and given.const_value is not None
    shape = given.const_value.numpy().copy()
    if shape[tail.axis] > 0:
        shape[tail.axis] = tail.count
        name = named(given, "with", axis=tail.axis, count=tail.count)
        node.replace_input_with(1, initializer(graph, name, shape))


def _select_from_the_end(graph: ir.Graph, node: ir.Node, tail: Tail) -> None:
    """Let the node count from the end, since the data may be shorter now."""
    if is_standard(node, "Gather"):
        node.replace_input_with(1, initializer(graph, "last/entry", np.array(-1)))
    else:
        node.replace_input_with(1, initializer(graph, f"bound/{-tail.count}", np.array([-tail.count])))


def _takes_tables(node: ir.Node) -> bool:
    """Whether a constant operand may have an entry for each position."""
    return operators.of(node).elementwise or is_standard(node, "Concat")


def _last_of_table(graph: ir.Graph, table: ir.Value, output: ir.Value, tail: Tail) -> ir.Value:
    """The last rows of a baked table that has one per position; any other constant as it is."""
    assert table.const_value is not None and output.shape is not None
    array = table.const_value.numpy()
    axis = tail.axis - len(output.shape) + array.ndim
    length = _size(output, tail.axis)
    if axis < 0 or array.shape[axis] != length:
        return table
    rows = np.take(array, np.arange(length - tail.count, length), axis=axis)
    return initializer(graph, named(table, LAST, axis=axis, count=tail.count), rows)


def _last(graph: ir.Graph, value: ir.Value, tail: Tail, before: ir.Node) -> ir.Value:
    """The `tail` of `value`, cut once and shared; `value` itself where it has no more than that."""
    if _size(value, tail.axis) == tail.count:
        return value
    return cut(graph, before, value, tail.axis, -tail.count, TO_THE_END)


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
