"""Give every `temport` node a function body, so that the one file runs where our kernels are absent.

A body is specialised to what its op says that it depends on, attributes and lengths for instance: that is what makes
its masks constants. Nodes that agree share one body; others get a body of their own under an ONNX function *overload*.
Where that makes more bodies of an op than the native library has domains for, nodes that differ in lengths only share
one for open lengths.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import onnx
import onnx_ir as ir

from temport.custom_ops.op import Host
from temport.custom_ops.schema import DOMAIN, VERSION
from temport.custom_ops.sequence_node import LENGTH
from temport.custom_ops.table import OPS
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.sizes import normal, reach
from temport.exporter.graph.body_domains import (
    FIRST_IR_WITH_FUNCTIONS,
    FIRST_IR_WITH_OVERLOADS,
    KERNEL_DOMAINS,
)
from temport.exporter.graph.masks import BakedMask

Group = tuple[str, Any, list[ir.Node]]
"""The nodes of an op that share a body, and what it is made for."""


def attach_bodies(
    model: ir.Model, declaration: Declaration, forms: Mapping[str, str] | None = None
) -> list[BakedMask]:
    """Attach a function body to each `temport` node of `model`, in place; returns the masks that the bodies hold.

    `forms` chooses the form per op name; an op left out gets the one that costs less at its length.
    """
    host = Host(opset=declaration.opset, element_type=declaration.precision)
    groups: list[Group] = []
    for node in model.graph.all_nodes():
        if node.domain != DOMAIN:
            continue
        chosen = replace(
            host, max_length=_longest(node, declaration), form=(forms or {}).get(node.op_type, "auto")
        )
        at = OPS[node.op_type].specialise(node, chosen)
        alike = (nodes for op, other, nodes in groups if (op, other) == (node.op_type, at))
        if (nodes := next(alike, None)) is None:
            groups.append((node.op_type, at, nodes := []))
        nodes.append(node)
    seen: dict[str, int] = {}
    masks = []
    for op, at, nodes in _within_domains(groups):
        seen[op] = seen.get(op, 0) + 1
        overload = "" if seen[op] == 1 else str(seen[op])
        body = OPS[op].body(at)
        body.function.overload = overload
        function = ir.serde.deserialize_function(body.function)
        _leave_out_what_nobody_gives(function, nodes)
        model.functions[function.identifier()] = function
        for node in nodes:
            node.overload = overload
            node.resize_inputs(len(function.inputs))  # ONNX's evaluator wants as many as the function has
        masks += [BakedMask(name, *mask) for name, mask in body.masks.items()]
    if groups:
        model.opset_imports[DOMAIN] = VERSION
    oldest = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", declaration.opset)])
    overloaded = any(count > 1 for count in seen.values())
    model.ir_version = max(oldest, FIRST_IR_WITH_OVERLOADS if overloaded else FIRST_IR_WITH_FUNCTIONS)
    return masks


def _leave_out_what_nobody_gives(function: ir.Function, nodes: list[ir.Node]) -> None:
    """Takes the last inputs away that the body does not read and no node has: a library from before there were such
    inputs refuses a node with more than it knows.
    """
    given = max(1 + max(i for i, value in enumerate(node.inputs) if value is not None) for node in nodes)
    while len(function.inputs) > given and not function.inputs[-1].uses():
        function.inputs.pop()


def _longest(node: ir.Node, declaration: Declaration) -> int | None:
    """The longest open length that the node can meet: an axis, or what its inputs make of one, as `3 * seq`."""
    axes = declaration.axes
    found = [axis.max for name, axis in axes.items() if name != "batch"]
    ranges = {name: (axis.min, axis.max) for name, axis in axes.items()}
    for value in node.inputs:
        shape = None if value is None else value.shape
        dim = shape[LENGTH] if shape is not None and len(shape) > LENGTH else None
        if isinstance(dim, ir.SymbolicDim) and "batch" not in str(dim):
            with contextlib.suppress(ValueError, KeyError):  # a size that is no expression of axes
                found.append(reach(normal(str(dim)), ranges)[1])
    return max(found, default=None)


def _within_domains(groups: list[Group]) -> list[Group]:
    """The groups, where an op has more than the library has domains for it, joined if only lengths tell them apart."""
    count = Counter(op for op, _, _ in groups)
    joined: list[Group] = []
    for op, at, nodes in groups:
        join = OPS[op].join if count[op] > KERNEL_DOMAINS.get(op, count[op]) else None
        for index, (name, other, members) in enumerate(joined):
            both = join(other, at) if join is not None and name == op else None
            if both is not None:
                joined[index] = op, both, members + nodes
                break
        else:
            joined.append((op, at, nodes))
    return joined
