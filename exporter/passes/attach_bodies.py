"""Give every `temport` node a function body, so that the one file runs where our kernels are absent.

A body is specialised to its nodes' attributes and lengths: that is what makes its masks constants. Nodes that
agree share one body; others get a body of their own under an ONNX function *overload*. Where that makes more bodies of
an op than the native library has domains for, nodes that differ in lengths only share one for open lengths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

import onnx
import onnx_ir as ir

from temport.custom_ops.op import Specialisation
from temport.custom_ops.table import OPS
from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.body_domains import (
    FIRST_IR_WITH_FUNCTIONS,
    FIRST_IR_WITH_OVERLOADS,
    KERNEL_DOMAINS,
)
from temport.exporter.graph.masks import BakedMask

LENGTH, WIDTH = 1, 2
"""Axes of queries, keys and values."""

Group = tuple[str, Specialisation, list[ir.Node]]
"""The nodes of an op that share a body, and what it is made for."""
Value = TypeVar("Value", bound=Hashable)


def attach_bodies(
    model: ir.Model, declaration: Declaration, forms: Mapping[str, str] | None = None
) -> list[BakedMask]:
    """Attach a function body to each `temport` node of `model`, in place; returns the masks that the bodies hold.

    `forms` chooses the form per op name; an op left out gets the one that costs less at its length.
    """
    groups: list[Group] = []
    for node in model.graph.all_nodes():
        if node.domain != "temport":
            continue
        at = _specialisation(node, declaration, (forms or {}).get(node.op_type, "auto"))
        alike = (nodes for op, other, nodes in groups if (op, other) == (node.op_type, at))
        if (nodes := next(alike, None)) is None:
            groups.append((node.op_type, at, nodes := []))
        nodes.append(node)
    seen: dict[str, int] = {}
    masks = []
    for op, at, nodes in _within_domains(groups):
        seen[op] = seen.get(op, 0) + 1
        overload = "" if seen[op] == 1 else str(seen[op])
        body = OPS[op].body(replace(at, overload=overload))
        function = ir.serde.deserialize_function(body.function)
        model.functions[function.identifier()] = function
        for node in nodes:
            node.overload = overload
            node.resize_inputs(len(function.inputs))  # ONNX's evaluator wants as many as the function has
        masks += [BakedMask(name, *mask) for name, mask in body.masks.items()]
    if groups:
        model.opset_imports["temport"] = 1
    oldest = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", declaration.opset)])
    overloaded = any(count > 1 for count in seen.values())
    model.ir_version = max(oldest, FIRST_IR_WITH_OVERLOADS if overloaded else FIRST_IR_WITH_FUNCTIONS)
    return masks


def _within_domains(groups: list[Group]) -> list[Group]:
    """The groups, where an op has more than the library has domains for it, joined if only lengths tell them apart."""
    count = Counter(op for op, _, _ in groups)
    joined: list[Group] = []
    for op, at, nodes in groups:
        alike = [other for name, other, _ in groups if name == op and _but_lengths(other) == _but_lengths(at)]
        if count[op] <= KERNEL_DOMAINS.get(op, count[op]) or len(alike) == 1:
            joined.append((op, at, nodes))
            continue
        lengths = [(a.query_length, a.key_length, a.max_length) for a in alike]
        shared = replace(
            at,
            query_length=_common(a.query_length for a in alike),
            key_length=_common(a.key_length for a in alike),
            max_length=max(length for row in lengths for length in row if length is not None),
        )
        same = (members for name, other, members in joined if (name, other) == (op, shared))
        if (members := next(same, None)) is None:
            joined.append((op, shared, members := []))
        members += nodes
    return joined


def _but_lengths(at: Specialisation) -> Specialisation:
    return replace(at, query_length=None, key_length=None, max_length=None)


def _common(values: Iterable[Value]) -> Value | None:
    """The value that they all are, or None."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


def _specialisation(node: ir.Node, declaration: Declaration, form: str) -> Specialisation:
    """What the node's body is made for; equal for nodes that can share one."""
    op = OPS[node.op_type]
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    anywhere = Specialisation(attributes={}, query_length=None, key_length=None, opset=declaration.opset)
    if op.one_body:
        return anywhere
    inputs = {
        parameter.name: value
        for parameter, value in zip(op.schema.inputs, node.inputs, strict=False)
        if value is not None
    }
    if op.torch_op is None:
        return replace(anywhere, attributes=attributes, given=frozenset(inputs))

    def size(value: ir.Value, axis: int) -> int | None:
        assert value.shape is not None, f"{value.name}, an input of {node.name}, has no shape"
        size = value.shape[axis]
        return size if isinstance(size, int) else None

    queries, *others = inputs.values()
    packed = op.schema.inputs[1].name not in inputs
    assert queries.shape is not None, f"{node.name} has queries of no known shape"
    rank = len(queries.shape)
    return Specialisation(
        attributes=attributes,
        query_length=size(queries, LENGTH) if rank > LENGTH + 1 else 1,
        key_length=size(queries if packed else others[0], LENGTH),
        key_width=None if packed else size(others[0], WIDTH),
        max_length=max((a.max for name, a in declaration.axes.items() if name != "batch"), default=None),
        query_rank=rank,
        packed=packed,
        has_key_mask="key_mask" in inputs,
        opset=declaration.opset,
        form=form,
        element_type=declaration.precision,
    )
