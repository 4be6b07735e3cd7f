"""Masks are baked: prove that none is computed in the graph and that each holds what its predicate says.

Two independent looks at the finished file. The first walks back from every place where a mask is used and
accepts only constants, boolean inputs and data movement on the way. The second re-derives each boolean
constant from its predicate and compares bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from temport.custom_ops.mask import Rule
from temport.exporter.graph import operators
from temport.exporter.graph.standard_operator import is_standard

LAST = "last"
"""What `named` is told of the last entries of a table; pruning cuts them, and the check below has to read it."""
REDUCTIONS = {"ReduceMax", "ReduceMin", "Greater"}
"""`Greater(ReduceMax(key_mask), 0)`-style questions: is any key of a *given* mask allowed. Never on positions."""


class MaskError(Exception):
    """The file computes a mask, or a baked mask differs from its predicate. A defect, never the user's fault."""


@dataclass(frozen=True)
class BakedMask:
    """A boolean constant that the file must hold: where it stands and the predicate behind it."""

    name: str
    rule: Rule
    query_length: int
    key_length: int


def computed_masks(model: ir.Model) -> list[tuple[ir.Node, ir.Node]]:
    """Each node whose mask the graph (or a function body) computes, and the node that does; none when all are baked."""
    found = []
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in graph.all_nodes():
            for slot in _mask_slots(node):
                culprit = _computing_node(slot)
                if culprit is not None and not _depends_on_data(culprit):
                    found.append((node, culprit))
    return found


def reaches_softmax(node: ir.Node) -> bool:
    """Whether what the node gives becomes scores of attention: a softmax takes it, through elements and moves alone.

    A choice by position that reaches none selects no keys, whatever it is.
    """
    if is_standard(node, "Attention"):
        return True
    pending, seen = list(node.outputs), set()
    while pending:
        value = pending.pop()
        for user in value.consumers() if value not in seen else ():
            if is_standard(user, "Softmax"):
                return True
            row = operators.of(user)
            if row.elementwise or row.moves:
                pending += user.outputs
        seen.add(value)
    return False


def boolean_constants(model: ir.Model) -> Iterator[tuple[str, np.ndarray]]:
    """Every boolean constant of the file, by name: initializers and Constant nodes, function bodies included."""
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.BOOL:
            yield name, tensor.numpy()
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in graph.all_nodes():
            if node.op_type == "Constant" and "value" in node.attributes:
                tensor = node.attributes["value"].as_tensor()
                if tensor.dtype == ir.DataType.BOOL:
                    yield node.outputs[0].name or "", tensor.numpy()


def check_masks(model: ir.Model, baked: Sequence[BakedMask], complete: bool = True) -> int:
    """Compare every boolean mask constant with its predicate; return how many were compared.

    A constant matches a `BakedMask` by name (inlining prefixes names, so by the end of the name) and must equal
    `rule.array(T, S)` bit for bit up to leading axes of size 1, or its last rows where pruning left no more. Where
    `complete`, every other constant is a problem; a module of somebody's own may bring masks that no predicate of ours
    says. Raises `MaskError`.
    """
    problems = [
        f"{node.op_type} {node.name or ''} takes a mask that {computing.op_type} {computing.name or ''} computes"
        for node, computing in (computed_masks(model) if complete else ())
    ]
    expected = {mask.name: mask for mask in baked}
    compared = 0
    for name, array in boolean_constants(model):
        if array.size <= 1:
            continue
        whole, _, cut = name.partition(f"/{LAST}/")
        mask = next((m for key, m in expected.items() if whole.endswith(key)), None)
        if mask is None:
            if complete:
                problems.append(f"boolean constant {name} {list(array.shape)} has no predicate")
            continue
        truth = mask.rule.array(mask.query_length, mask.key_length)
        if cut:
            axis, count = (int(part.partition("=")[2]) for part in cut.split("/"))
            truth = np.take(truth, range(-count, 0), axis=axis - array.ndim)
        if array.size != truth.size or not np.array_equal(array.reshape(truth.shape), truth):
            problems.append(f"mask {name} {list(array.shape)} differs from {mask.rule}")
        compared += 1
    if problems:
        raise MaskError("; ".join(problems))
    return compared


def _mask_slots(node: ir.Node) -> list[ir.Value]:
    """The inputs of `node` that select what is attended to."""
    if is_standard(node, "Where"):
        return [v for v in node.inputs[:1] if v is not None]
    if is_standard(node, "Attention"):
        return [v for v in node.inputs[3:4] if v is not None]
    return []


def _computing_node(value: ir.Value) -> ir.Node | None:
    """The first node behind `value` that is neither data movement nor a question to a given mask."""
    pending, seen = [value], set()
    while pending:
        current = pending.pop()
        node = current.producer()
        if node is None or id(node) in seen or node.op_type == "Constant":
            continue
        seen.add(id(node))
        if node.op_type in REDUCTIONS and node.op_type != "Greater":
            if not _from_given_mask(node):
                return node
        elif node.op_type == "Greater":
            if not all(v is None or _is_count_of_mask(v) for v in node.inputs[:1]):
                return node
        elif not (operators.of(node).moves or operators.of(node).joins_masks):
            return node
        # only the data input moves a mask; shapes and indices beside it are arithmetic on sizes
        data = node.inputs if node.op_type in ("And", "Concat") else node.inputs[:1]
        pending += [v for v in data if v is not None]
    return None


def _depends_on_data(node: ir.Node) -> bool:
    """Whether `node` is computed from the values of an input: then it selects by content and is no mask.

    A shape is no value: a mask built from the length of the input is still a computed mask.
    """
    pending, seen = [node], set()
    while pending:
        current = pending.pop()
        if id(current) in seen or current.op_type in ("Shape", "Size"):
            continue
        seen.add(id(current))
        for value in current.inputs:
            if value is None:
                continue
            producer = value.producer()
            if producer is not None:
                pending.append(producer)
            elif value.const_value is None and not value.is_initializer():
                return True
    return False


def _from_given_mask(node: ir.Node) -> bool:
    source = node.inputs[0]
    return source is not None and _computing_node(source) is None


def _is_count_of_mask(value: ir.Value) -> bool:
    producer = value.producer()
    return (
        producer is not None and producer.op_type in ("ReduceMax", "ReduceMin") and _from_given_mask(producer)
    )
