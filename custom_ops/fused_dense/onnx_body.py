"""FusedDense as standard operators: one `MatMul`, batched where there are groups, and a node per step that follows.

`MatMul` and `Add` say it for any number of axes; runtimes make the `Gemm` of them where there are two.

There is one body per activation, number of groups, set of steps that follow, way of storing the weight, and one more
where X is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx import helper

from temport.custom_ops import node as read
from temport.custom_ops.fused_dense.schema import ACTIVATIONS, SCHEMA
from temport.custom_ops.op import Body, Host
from temport.custom_ops.plain_body import plain_body
from temport.custom_ops.stored_weight import Stored, stored, wide_nodes

FIRST_OPSET_WITH_GELU = 20

Nodes = list[onnx.NodeProto]


@dataclass(frozen=True)
class DenseNode:
    """`follows` names the optional inputs that a node has: a body cannot leave out a step. `weight` says how W is
    stored, None where as numbers; `rounds` whether X is rounded.
    """

    activation: str
    groups: int
    follows: frozenset[str]
    opset: int
    weight: Stored | None = None
    rounds: bool = False


def specialise(node: ir.Node, host: Host) -> DenseNode:
    """Every attribute, the steps that follow, how W is stored, whether X is rounded, and the opset, of which the
    oldest has no Gelu.
    """
    given = read.inputs(node, SCHEMA)
    follows = frozenset(given) & {name for _, name, _ in _EPILOGUE}
    attributes = read.attributes(node, SCHEMA)
    outputs = 1 if attributes["groups"] == 1 else 2
    weight = stored(given.get("W"), given.get("W_scale"), given.get("X"), outputs)
    return DenseNode(
        **attributes, follows=follows, opset=host.opset, weight=weight, rounds="X_scale" in given
    )


def body(at: DenseNode) -> Body:
    """ValueError for an activation that there is not, no group at all, or an opset older than any body's."""
    activation, groups = at.activation, at.groups
    if activation not in ACTIVATIONS or groups < 1:
        raise ValueError(f"FusedDense: there is no body for activation {activation!r} and {groups} groups.")
    nodes, weight = wide_nodes(at.weight, "W", "W_scale", "X")
    x = "X"
    if at.rounds:
        nodes += _rounded()
        x = "rounded"
    nodes += _dense(x, weight) if groups == 1 else _grouped(x, groups, weight)
    value = "dense"
    steps = [(_ACTIVATIONS[activation], "active")] if activation != "none" else []
    steps += [(_with(op, name), result) for op, name, result in _EPILOGUE if name in at.follows]
    for step, result in steps:
        nodes += step(value, result, at.opset)
        value = result
    nodes[-1].output[0] = "Y"
    return plain_body(SCHEMA, at.opset, nodes)


def _rounded() -> Nodes:
    """Not by `QuantizeLinear`, which no float64 goes through, and whose neighbours runtimes exchange."""
    nodes = []
    for name, value in (("least", -128.0), ("most", 127.0)):
        nodes.append(helper.make_node("Constant", [], [f"{name}_float"], value_float=value))
        nodes.append(helper.make_node("CastLike", [f"{name}_float", "X"], [name]))
    return [
        *nodes,
        helper.make_node("Div", ["X", "X_scale"], ["quotient"]),
        helper.make_node("Round", ["quotient"], ["nearest"]),
        helper.make_node("Clip", ["nearest", "least", "most"], ["integers"]),
        helper.make_node("Mul", ["integers", "X_scale"], ["rounded"]),
    ]


def _dense(x: str, weight: str) -> Nodes:
    return [
        helper.make_node("MatMul", [x, weight], ["products"]),
        helper.make_node("Add", ["products", "B"], ["dense"]),
    ]


def _grouped(x: str, groups: int, weight: str) -> Nodes:
    """By `[G, rows, K]`, with no size in it: a reshape to -1 would not know what it is where there are no rows."""
    parts, results = ([f"{kind}_{g}" for g in range(groups)] for kind in ("part", "result"))
    return [
        helper.make_node("Constant", [], ["first"], value_ints=[0]),
        helper.make_node("Unsqueeze", [x, "first"], ["together"]),
        helper.make_node("Split", ["together"], parts, axis=2, num_outputs=groups),
        helper.make_node("Concat", parts, ["by_group"], axis=0),
        helper.make_node("MatMul", ["by_group", weight], ["products"]),
        helper.make_node("Split", ["products"], results, axis=0, num_outputs=groups),
        helper.make_node("Concat", results, ["side_by_side"], axis=2),
        helper.make_node("Squeeze", ["side_by_side", "first"], ["rows"]),
        helper.make_node("Add", ["rows", "B"], ["dense"]),
    ]


_EPILOGUE = (("Mul", "M", "scaled"), ("Add", "R", "added"))
"""(operator, the optional input that it takes, its result), in the order of the definition."""


def _with(op: str, name: str) -> Callable[[str, str, int], Nodes]:
    return lambda x, y, opset: [helper.make_node(op, [x, name], [y])]


def _node(op: str) -> Callable[[str, str, int], Nodes]:
    return lambda x, y, opset: [helper.make_node(op, [x], [y])]


def _silu(x: str, y: str, opset: int) -> Nodes:
    return [helper.make_node("Sigmoid", [x], ["gate"]), helper.make_node("Mul", [x, "gate"], [y])]


def _gelu(x: str, y: str, opset: int) -> Nodes:
    if opset >= FIRST_OPSET_WITH_GELU:
        return [helper.make_node("Gelu", [x], [y], approximate="none")]
    nodes = []
    for name, value in (("root", math.sqrt(0.5)), ("one", 1.0), ("half", 0.5)):
        nodes.append(helper.make_node("Constant", [], [f"{name}_float"], value_float=value))
        nodes.append(helper.make_node("CastLike", [f"{name}_float", x], [name]))
    return [
        *nodes,
        helper.make_node("Mul", [x, "root"], ["deviation"]),
        helper.make_node("Erf", ["deviation"], ["erf"]),
        helper.make_node("Add", ["erf", "one"], ["twice"]),
        helper.make_node("Mul", ["twice", "half"], ["share"]),
        helper.make_node("Mul", [x, "share"], [y]),
    ]


_ACTIVATIONS: dict[str, Callable[[str, str, int], Nodes]] = {
    "relu": _node("Relu"),
    "gelu": _gelu,
    "sigmoid": _node("Sigmoid"),
    "silu": _silu,
}
