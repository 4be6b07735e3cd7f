"""Compute only the positions that reach the output.

A model that returns its last position needs, in its last block, keys and values everywhere but queries, gates,
normalisation and feed-forward only there; and where windows are shorter than the sequence, early positions of
early blocks reach nothing at all. Both are one rule: each value is needed for its last `n` positions, and every
operator says how many of its inputs' last positions that takes. The rewrite is exact: it removes work, never
terms of a sum.

The pass works on a fixed length. It first follows the time axis forward through operators it knows, then the
demand backward from the outputs, then trims.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

ELEMENTWISE = {
    "Add", "Cast", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "Identity", "Max", "Min", "Mul", "Neg", "Pow",
    "Reciprocal", "Relu", "Sigmoid", "Sqrt", "Sub", "Tanh",
}  # fmt: skip
TO_THE_END = np.iinfo(np.int64).max


@dataclass
class _Trim:
    """State of one run over a graph of fixed length `length`."""

    graph: ir.Graph
    length: int
    axis: dict[ir.Value, int] = field(default_factory=dict)
    need: dict[ir.Value, int] = field(default_factory=dict)
    have: dict[ir.Value, int] = field(default_factory=dict)
    trimmed: dict[tuple[ir.Value, int], ir.Value] = field(default_factory=dict)


def prune(model: ir.Model) -> bool:
    """Trim `model` in place; False where there is nothing to trim (or the length is dynamic)."""
    sequence = [v for v in model.graph.inputs if v.shape is not None and len(v.shape) == 3]
    lengths = {v.shape[1] for v in sequence if v.shape is not None}
    if len(sequence) != 1 or len(lengths) != 1:
        return False
    (length,) = lengths
    if not isinstance(length, int) or length == 1:
        return False
    run = _Trim(model.graph, length)
    run.axis[sequence[0]] = 1
    run.have[sequence[0]] = length
    nodes = list(model.graph)
    for node in nodes:
        _follow_time(run, node)
    for node in reversed(nodes):
        _spread_demand(run, node)
    if all(run.need.get(v, 0) in (0, length) for v in run.axis):
        return False
    for node in nodes:
        _trim_node(run, node)
    common.RemoveUnusedNodesPass()(model)
    return True


def _rule(node: ir.Node) -> str:
    """How an operator treats time: `pointwise`, `attention`, `causal_conv`, `last`, or unknown ("")."""
    if node.domain == "temport":
        return "attention" if node.op_type == "OnlineSoftmaxAttention" else ""
    if node.domain not in ("", "ai.onnx"):
        return ""
    if node.op_type in ELEMENTWISE or node.op_type in ("MatMul", "LayerNormalization", "Transpose"):
        return "pointwise"
    return {"Conv": "causal_conv", "Gather": "last"}.get(node.op_type, "")


def _follow_time(run: _Trim, node: ir.Node) -> None:
    """Find the time axis of the node's output from those of its inputs."""
    timed = [(v, run.axis[v]) for v in node.inputs if v is not None and v in run.axis]
    rule = _rule(node)
    output = node.outputs[0]
    if not timed or not rule or output.shape is None:
        return
    value, axis = timed[0]
    assert value.shape is not None
    if rule == "pointwise":
        if node.op_type == "Transpose":
            axis = list(node.attributes["perm"].as_ints()).index(axis)
        elif node.op_type == "MatMul":
            # only data @ weights keeps positions apart; a timed right side mixes them
            if node.inputs[1] in run.axis or axis == len(value.shape) - 1:
                return
        elif node.op_type == "LayerNormalization":
            first = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
            if first % len(value.shape) <= axis:
                return
        else:
            axis += len(output.shape) - len(value.shape)
    elif rule == "causal_conv":
        if not _is_causal_conv(run, node, axis):
            return
    elif rule == "last":
        return
    if output.shape[axis] == run.length:
        run.axis[output] = axis
        run.have[output] = run.length


def _is_causal_conv(run: _Trim, node: ir.Node, axis: int) -> bool:
    """A one-dimensional convolution whose kernel spans the whole sequence, padded on the left only."""
    kernel = node.inputs[1]
    pads = list(node.attributes["pads"].as_ints()) if "pads" in node.attributes else []
    return (
        axis == 2
        and kernel is not None
        and kernel.shape is not None
        and len(kernel.shape) == 3
        and pads == [run.length - 1, 0]
        and kernel.shape[2] == run.length
    )


def _spread_demand(run: _Trim, node: ir.Node) -> None:
    """Add what this node asks of its inputs' last positions."""
    output = node.outputs[0]
    asked = max((_asked_by_output(run, v) for v in node.outputs), default=0)
    rule = _rule(node)
    for index, value in enumerate(node.inputs):
        if value is None or value not in run.axis:
            continue
        demand = run.length
        if rule == "last" and _takes_last(run, node):
            demand = 1
        elif output in run.axis and rule == "pointwise":
            demand = asked
        elif output in run.axis and rule == "attention":
            demand = asked if _is_query(node, index) else _keys_for(run, node, asked)
        run.need[value] = max(run.need.get(value, 0), demand)


def _asked_by_output(run: _Trim, value: ir.Value) -> int:
    return run.length if value.is_graph_output() else run.need.get(value, 0)


def _takes_last(run: _Trim, node: ir.Node) -> bool:
    data, index = node.inputs[0], node.inputs[1]
    if data is None or index is None or index.const_value is None:
        return False
    where = index.const_value.numpy()
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    return run.axis.get(data) == axis and where.size == 1 and int(where.item()) in (-1, run.length - 1)


def _is_packed(node: ir.Node) -> bool:
    return len(node.inputs) < 2 or node.inputs[1] is None


def _is_query(node: ir.Node, index: int) -> bool:
    return index == 0 and not _is_packed(node)


def _keys_for(run: _Trim, node: ir.Node, queries: int) -> int:
    """How many trailing keys the last `queries` queries may see."""
    window = node.attributes["window"].as_int()
    if node.attributes["query_offset"].as_int() != -1 or not window:
        return run.length
    return min(run.length, queries + window - 1) if queries else 0


def _trim_node(run: _Trim, node: ir.Node) -> None:
    """Cut the node's inputs to what its outputs are needed for."""
    rule, output = _rule(node), node.outputs[0]
    if rule == "last" and _takes_last(run, node):
        data = node.inputs[0]
        assert data is not None
        node.replace_input_with(1, _constant(run, f"{output.name}_last", np.array(-1, np.int64), node))
        return
    wanted = run.need.get(output, 0)
    if output not in run.axis or wanted in (0, run.length):
        for index, value in enumerate(node.inputs):
            # an operator this pass does not trim still sees every position it asked for
            if value is not None and value in run.axis:
                assert run.have[value] == run.length or rule == "attention", f"{node.name} lost positions"
                if rule == "attention" and not _is_packed(node):
                    node.replace_input_with(index, _last(run, value, run.length, node))
        return
    actions: dict[str, Callable[[_Trim, ir.Node, int], None]] = {
        "pointwise": _trim_pointwise,
        "attention": _trim_attention,
        "causal_conv": _trim_conv,
    }
    actions[rule](run, node, wanted)
    _resize(run, output, wanted)


def _trim_pointwise(run: _Trim, node: ir.Node, wanted: int) -> None:
    output = node.outputs[0]
    assert output.shape is not None
    from_right = run.axis[output] - len(output.shape)
    for index, value in enumerate(node.inputs):
        if value is None:
            continue
        if value in run.axis:
            node.replace_input_with(index, _last(run, value, wanted, node))
        elif node.op_type in ELEMENTWISE and value.const_value is not None:
            table = value.const_value.numpy()
            if table.ndim >= -from_right and table.shape[from_right] == run.length:
                rows = np.take(table, np.arange(run.length - wanted, run.length), axis=from_right)
                node.replace_input_with(index, _constant(run, f"{value.name}_last{wanted}", rows, node))


def _trim_conv(run: _Trim, node: ir.Node, wanted: int) -> None:
    """The last `wanted` outputs of a full-length causal convolution: the same kernel, less padding."""
    node.attributes["pads"] = ir.AttrInt64s("pads", [wanted - 1, 0])


def _trim_attention(run: _Trim, node: ir.Node, wanted: int) -> None:
    keys = _keys_for(run, node, wanted)
    offset = node.attributes["query_offset"].as_int()
    if offset != -1:  # an explicit alignment counts from the first query, which is now a later one
        node.attributes["query_offset"] = ir.AttrInt64("query_offset", offset + run.length - wanted)
    if _is_packed(node):
        _unpack(run, node, wanted, keys)
        return
    for index, value in enumerate(node.inputs[:3]):
        if value is not None and value in run.axis:
            node.replace_input_with(index, _last(run, value, wanted if index == 0 else keys, node))


def _unpack(run: _Trim, node: ir.Node, queries: int, keys: int) -> None:
    """Split one QKV projection in three, so that queries are projected only where they are needed."""
    packed = node.inputs[0]
    assert packed is not None and packed.shape is not None
    projection = _projection_behind(packed)
    heads, kv_heads = node.attributes["num_heads"].as_int(), node.attributes["kv_num_heads"].as_int()
    width = packed.shape[-1]
    assert isinstance(width, int)
    head_dim = width // (heads + 2 * kv_heads)
    edges = np.cumsum([0, heads * head_dim, kv_heads * head_dim, kv_heads * head_dim])
    for index, (part, rows) in enumerate((("q", queries), ("k", keys), ("v", keys))):
        columns = slice(int(edges[index]), int(edges[index + 1]))
        if projection is None:
            piece = _columns(run, _last(run, packed, rows, node), columns, node)
        else:
            data, weight, bias = projection
            piece = _project(run, _last(run, data, rows, node), weight[:, columns], bias[columns], part, node)
        if index < len(node.inputs):
            node.replace_input_with(index, piece)
        else:
            node.resize_inputs(index + 1)
            node.replace_input_with(index, piece)


def _projection_behind(packed: ir.Value) -> tuple[ir.Value, np.ndarray, np.ndarray] | None:
    """data, weight `[C, N]` and bias `[N]` where `packed` is `Add(MatMul(data, weight), bias)` for this use only."""
    add = packed.producer()
    if add is None or add.op_type != "Add" or len(packed.uses()) != 1:
        return None
    for one, other in ((0, 1), (1, 0)):
        product, bias = add.inputs[one], add.inputs[other]
        matmul = product.producer() if product is not None else None
        if matmul is None or matmul.op_type != "MatMul" or bias is None or bias.const_value is None:
            continue
        data, weight = matmul.inputs
        if data is not None and weight is not None and weight.const_value is not None:
            return data, weight.const_value.numpy(), bias.const_value.numpy()
    return None


def _project(
    run: _Trim, data: ir.Value, weight: np.ndarray, bias: np.ndarray, part: str, before: ir.Node
) -> ir.Value:
    name = f"{before.outputs[0].name}_{part}"
    product = _insert(run, "MatMul", [data, _constant(run, f"{name}_weight", weight, before)], name + "_product", before)
    return _insert(run, "Add", [product, _constant(run, f"{name}_bias", bias, before)], name, before)


def _columns(run: _Trim, value: ir.Value, columns: slice, before: ir.Node) -> ir.Value:
    name = f"{value.name}_{columns.start}_{columns.stop}"
    return _slice(run, value, columns.start, columns.stop, -1, name, before)


def _last(run: _Trim, value: ir.Value, wanted: int, before: ir.Node) -> ir.Value:
    """The last `wanted` positions of `value`, cut once and shared."""
    if run.have[value] == wanted:
        return value
    key = (value, wanted)
    if key not in run.trimmed:
        cut = _slice(run, value, -wanted, TO_THE_END, run.axis[value], f"{value.name}_last{wanted}", before)
        assert value.shape is not None
        cut.shape = ir.Shape([wanted if i == run.axis[value] else d for i, d in enumerate(value.shape)])
        run.trimmed[key] = cut
    return run.trimmed[key]


def _slice(
    run: _Trim, value: ir.Value, start: int, stop: int, axis: int, name: str, before: ir.Node
) -> ir.Value:
    bounds = [
        _constant(run, f"{name}_{part}", np.array([number], np.int64), before)
        for part, number in (("start", start), ("stop", stop), ("axis", axis))
    ]
    return _insert(run, "Slice", [value, *bounds], name, before)


def _insert(run: _Trim, op: str, inputs: list[ir.Value], name: str, before: ir.Node) -> ir.Value:
    node = ir.node(op, inputs, outputs=[ir.Value(name=name, type=inputs[0].type)], name=name)
    run.graph.insert_before(before, node)
    return node.outputs[0]


def _constant(run: _Trim, name: str, array: np.ndarray, user: ir.Node) -> ir.Value:
    """An initializer of the graph, one per name."""
    if name not in run.graph.initializers:
        tensor = ir.tensor(np.ascontiguousarray(array), name=name)
        value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
        run.graph.register_initializer(value)
    return run.graph.initializers[name]


def _resize(run: _Trim, value: ir.Value, wanted: int) -> None:
    assert value.shape is not None
    value.shape = ir.Shape([wanted if i == run.axis[value] else d for i, d in enumerate(value.shape)])
    run.have[value] = wanted
