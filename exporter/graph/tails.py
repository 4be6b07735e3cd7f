"""What the last entries of a node's output take of its inputs: the rule of each `Along`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from temport.exporter.graph import operators
from temport.exporter.graph.attention import Attention
from temport.exporter.graph.operator_row import Along
from temport.exporter.graph.standard_operator import is_standard


@dataclass(frozen=True)
class Tail:
    """The last `count` entries along `axis`."""

    axis: int
    count: int


def tail_of_input(node: ir.Node, index: int, tail: Tail) -> Tail | None:
    """What `tail` of every used output takes of input `index`; None for all of it."""
    value, output = node.inputs[index], node.outputs[0]
    if value is None or value.const_value is not None or value.shape is None or output.shape is None:
        return None
    rule = _RULES.get(operators.of(node).along)
    return None if rule is None else rule(node, index, value, output, tail)


def has_rule(node: ir.Node) -> bool:
    """Whether there is a rule for the node's operator, were it only that it needs everything."""
    along = operators.of(node).along
    return along is Along.ALL or along in _RULES


def behind_moves(value: ir.Value) -> ir.Node | None:
    """The node that computes what `value` holds, wherever its elements were moved since; None for an input."""
    node = value.producer()
    while node is not None and operators.of(node).moves and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node


def saves_nothing(node: ir.Node | None) -> bool:
    """Whether no work is saved where the last entries of what a node computes are wanted alone."""
    return node is None or operators.of(node).along is Along.ALL or not has_rule(node)


def selected(node: ir.Node) -> Tail | None:
    """The tail of its first input that a node picks, a `Gather` of the last entry or a `Slice` of the last ones."""
    data = node.inputs[0] if node.inputs else None
    if data is None or data.shape is None:
        return None
    if is_standard(node, "Gather") and _selects_last(node, data.shape):
        return Tail(gather_axis(node), 1)
    if is_standard(node, "Slice"):
        return _sliced_tail(node, data.shape)
    return None


def gather_axis(node: ir.Node) -> int:
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    data = node.inputs[0]
    return axis % len(data.shape) if data is not None and data.shape is not None else axis


def _selects_last(node: ir.Node, shape: ir.Shape) -> bool:
    index = _constants(node, 1)
    size = shape[gather_axis(node)]
    ends = (-1, size - 1) if isinstance(size, int) else (-1,)
    scalar = index is not None and node.inputs[1] is not None and node.inputs[1].shape == ir.Shape([])
    return index is not None and scalar and size != 1 and index[0] in ends


def _sliced_tail(node: ir.Node, shape: ir.Shape) -> Tail | None:
    starts, stops, axes, steps = (_constants(node, i) for i in (1, 2, 3, 4))
    given_steps = node.inputs[4] if len(node.inputs) > 4 else None
    if starts is None or stops is None or axes is None or not len(starts) == len(stops) == len(axes) == 1:
        return None
    if given_steps is not None and steps != [1]:
        return None
    axis = axes[0] % len(shape)
    size = shape[axis]
    if isinstance(size, int):
        start = max(0, starts[0] + size) if starts[0] < 0 else min(starts[0], size)
        return Tail(axis, size - start) if stops[0] >= size and 0 < start < size else None
    unlimited = stops[0] >= 2**31 - 1  # what a tracer writes for "to the end"
    return Tail(axis, -starts[0]) if starts[0] < 0 and unlimited else None


def _constants(node: ir.Node, index: int) -> list[int] | None:
    """The numbers of a constant input; None where there is none."""
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None or value.const_value is None:
        return None
    return [int(n) for n in value.const_value.numpy().reshape(-1)]


def _each(node: ir.Node, index: int, value: ir.Value, output: ir.Value, tail: Tail) -> Tail | None:
    assert value.shape is not None and output.shape is not None
    axis = tail.axis - len(output.shape) + len(value.shape)
    if not all(_fits(other, output, tail.axis) for other in node.inputs if other is not None):
        return None
    # an input with one entry for all positions is broadcast, and stays as it is
    return Tail(axis, tail.count) if axis >= 0 and value.shape[axis] == output.shape[tail.axis] else None


def _fits(value: ir.Value, output: ir.Value, axis: int) -> bool:
    """Whether an operand surely has as many entries as the output along its `axis`, or one for all of them."""
    assert output.shape is not None
    if value.shape is None:
        return False
    own = axis - len(output.shape) + len(value.shape)
    return own < 0 or value.shape[own] in (1, output.shape[axis])


def _rows(node: ir.Node, index: int, value: ir.Value, output: ir.Value, tail: Tail) -> Tail | None:
    """Rows of the first operand; columns of the second; axes before them where the other operand has none."""
    assert value.shape is not None and output.shape is not None
    _, other, *addend = node.inputs
    rank, own = len(output.shape), len(value.shape)
    if is_standard(node, "Gemm"):
        turned = "transA" in node.attributes and node.attributes["transA"].as_int()
        table = [
            v for v in addend if v is not None and (v.shape is None or (len(v.shape) > 1 and v.shape[0] != 1))
        ]
        return tail if (index, tail.axis) == (0, 0) and not turned and not table else None
    if not is_standard(node, "MatMul") or min(own, rank) < 2:
        return None
    if index == 1:
        return Tail(own - 1, tail.count) if tail.axis == rank - 1 else None
    if tail.axis == rank - 2:
        return Tail(own - 2, tail.count)
    is_matrix = other is not None and other.shape is not None and len(other.shape) == 2
    return tail if tail.axis < rank - 2 and own == rank and is_matrix else None


def _from_axis(node: ir.Node, index: int, value: ir.Value, output: ir.Value, tail: Tail) -> Tail | None:
    assert value.shape is not None
    first = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    return tail if index == 0 and first % len(value.shape) > tail.axis else None


def _across_axis(node: ir.Node, index: int, value: ir.Value, output: ir.Value, tail: Tail) -> Tail | None:
    assert value.shape is not None
    default = 0 if is_standard(node, "Split") else -1
    worked = node.attributes["axis"].as_int() if "axis" in node.attributes else default
    free = worked % len(value.shape) != tail.axis
    return tail if free and (index == 0 or is_standard(node, "Concat")) else None


def _cut(node: ir.Node, index: int, value: ir.Value, output: ir.Value, tail: Tail) -> Tail | None:
    assert value.shape is not None
    axes = _constants(node, 3)
    if index != 0 or axes is None:
        return None
    return None if tail.axis in [axis % len(value.shape) for axis in axes] else tail


def _permuted(node: ir.Node, index: int, value: ir.Value, output: ir.Value, tail: Tail) -> Tail | None:
    assert value.shape is not None
    rank = len(value.shape)
    perm = node.attributes["perm"].as_ints() if "perm" in node.attributes else list(range(rank))[::-1]
    return Tail(perm[tail.axis], tail.count)


def _reduced(node: ir.Node, index: int, value: ir.Value, output: ir.Value, tail: Tail) -> Tail | None:
    assert value.shape is not None
    rank = len(value.shape)
    if is_standard(node, "ArgMax", "ArgMin"):
        axes: list[int] | None = [node.attributes["axis"].as_int() if "axis" in node.attributes else 0]
    else:
        axes = [*node.attributes["axes"].as_ints()] if "axes" in node.attributes else _constants(node, 1)
    if index != 0 or not axes:
        return None
    gone = {axis % rank for axis in axes}
    kept = "keepdims" not in node.attributes or node.attributes["keepdims"].as_int()
    axis = tail.axis if kept else [axis for axis in range(rank) if axis not in gone][tail.axis]
    return None if axis in gone else Tail(axis, tail.count)


def _renamed(node: ir.Node, index: int, value: ir.Value, output: ir.Value, tail: Tail) -> Tail | None:
    """The axis of the same size behind the same axes, apart from those of size 1.

    What has no work behind it that could be less is left in one piece, as other passes look for it.
    """
    assert value.shape is not None and output.shape is not None
    by_shape = is_standard(node, "Reshape") and (
        _constants(node, 1) is None or "allowzero" in node.attributes
    )
    if (
        index != 0
        or by_shape
        or saves_nothing(behind_moves(value))
        or (is_standard(node, "Squeeze") and _constants(node, 1) is None)
    ):
        return None
    size, before = output.shape[tail.axis], _sizes(output.shape[: tail.axis])
    if before is None or (isinstance(size, ir.SymbolicDim) and size.value is None):
        return None
    for axis, own in enumerate(value.shape):
        if own == size and _sizes(value.shape[:axis]) == before:
            return Tail(axis, tail.count)
    return None


def _sizes(shape: Sequence[int | ir.SymbolicDim]) -> list[int | ir.SymbolicDim] | None:
    """The sizes but those that are 1; None where one is not known."""
    known = all(isinstance(size, int) or size.value is not None for size in shape)
    return [size for size in shape if size != 1] if known else None


def _picked(node: ir.Node, index: int, value: ir.Value, output: ir.Value, tail: Tail) -> Tail | None:
    """An axis beside the one that is picked from; of a constant table, the indices that are not needed."""
    data, indices = node.inputs[0], node.inputs[1]
    if data is None or indices is None or data.shape is None or indices.shape is None:
        return None
    axis, rank = gather_axis(node), len(indices.shape)
    if index == 0:
        if axis <= tail.axis < axis + rank:
            return None
        return Tail(tail.axis if tail.axis < axis else tail.axis - rank + 1, tail.count)
    return Tail(tail.axis - axis, tail.count) if axis <= tail.axis < axis + rank else None


def _queries(node: ir.Node, index: int, value: ir.Value, output: ir.Value, tail: Tail) -> Tail | None:
    found = Attention.of(node)
    assert found is not None and output.shape is not None
    explicit = found.rule.query_offset is not None
    if tail.axis != 1 or (explicit and not isinstance(output.shape[1], int)):
        return None
    if index == 0 and not found.packed:
        return tail
    keys = [x for x in (found.k, found.v, found.key_mask) if x is not None]
    if explicit or not found.rule.window or any(x.const_value is not None for x in keys):
        return None
    return Tail(1, tail.count + found.rule.window - 1)


_RULES: dict[Along, Callable[[ir.Node, int, ir.Value, ir.Value, Tail], Tail | None]] = {
    Along.EACH: _each,
    Along.ROWS: _rows,
    Along.FROM_AXIS: _from_axis,
    Along.ACROSS_AXIS: _across_axis,
    Along.BESIDE_AXES: _reduced,
    Along.RENAMED: _renamed,
    Along.CUT: _cut,
    Along.PERMUTED: _permuted,
    Along.PICKED: _picked,
    Along.QUERIES: _queries,
}
