"""Which nodes treat every row of a `[batch, seq, C]` tensor by itself, and how they say so on `[batch*seq, C]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from temport.exporter.graph import operators
from temport.exporter.graph.edit import initializer
from temport.exporter.graph.standard_operator import is_standard

Size = int | ir.SymbolicDim


@dataclass(frozen=True)
class Rows:
    """The three sizes of a tensor of rows; `batch` and `seq` may be symbols, but known ones."""

    batch: Size
    seq: Size
    width: int

    @property
    def axes(self) -> ir.Shape:
        """`[batch, seq, width]`"""
        return ir.Shape([self.batch, self.seq, self.width])

    @property
    def flat(self) -> ir.Shape:
        """`[batch*seq, width]`; equal products have one name, as `60*batch` or `batch*seq`."""
        return ir.Shape([self.batch * self.seq, self.width])

    @property
    def leading(self) -> tuple[Size, Size]:
        return self.batch, self.seq


def rows_of(value: ir.Value | None) -> Rows | None:
    """The rows of a tensor that depends on the inputs; None where it has other axes or a size is not known."""
    if value is None or value.shape is None or value.const_value is not None or len(value.shape) != 3:
        return None
    batch, seq, width = list(value.shape)
    if not isinstance(width, int) or any(
        isinstance(d, ir.SymbolicDim) and d.value is None for d in (batch, seq)
    ):
        return None
    return Rows(batch, seq, width)


def by_row(node: ir.Node) -> bool:
    """Whether the node gives the same numbers on flat rows, after `adapt`."""
    if not is_standard(node) or any(rows_of(output) is None for output in node.outputs):
        return False
    rows, given = rows_of(node.inputs[0]) if node.inputs else None, node.inputs
    if operators.of(node).elementwise:
        return _is_elementwise(node)
    if node.op_type == "Concat":
        return _axis(node) in (-1, 2) and _one_shape([rows_of(v) for v in given])
    if rows is None:
        return False
    match node.op_type:
        case "MatMul":
            weight = given[1].const_value if given[1] is not None else None
            return weight is not None and len(weight.shape) == 2
        case "LayerNormalization":
            constants = [v.const_value for v in given[1:] if v is not None]
            return _axis(node) in (-1, 2) and all(c is not None and len(c.shape) == 1 for c in constants)
        case "Split":
            return _axis(node) in (-1, 2)
        case "Slice":
            return _flat_axis_of_slice(node, rows) is not None
    return False


def adapt(graph: ir.Graph, node: ir.Node) -> None:
    """Give a node that is `by_row` the axes and constants of flat rows; its inputs are still on three axes."""
    if operators.of(node).elementwise:
        rows = rows_of(node.outputs[0])
        assert rows is not None
        for index, value in enumerate(node.inputs):
            if value is None or value.const_value is None or len(value.const_value.shape) < 2:
                continue
            shape = _flat_constant(list(value.const_value.numpy().shape), rows)
            name = f"{value.name}/rows"
            constant = initializer(graph, name, value.const_value.numpy().reshape(shape))
            node.replace_input_with(index, constant)
    elif node.op_type in ("Concat", "LayerNormalization", "Split"):
        node.attributes["axis"] = ir.AttrInt64("axis", 1)
    elif node.op_type == "Slice":
        rows = rows_of(node.inputs[0])
        assert rows is not None
        axis = _flat_axis_of_slice(node, rows)
        node.replace_input_with(3, initializer(graph, f"rows/axis_{axis}", np.array([axis])))


def _is_elementwise(node: ir.Node) -> bool:
    rows = rows_of(node.outputs[0])
    flowing = [rows_of(v) for v in node.inputs if v is not None and v.const_value is None]
    constants = [v.const_value for v in node.inputs if v is not None and v.const_value is not None]
    return (
        rows is not None
        and _one_shape([rows, *flowing])
        and all(_flat_constant(list(c.numpy().shape), rows) is not None for c in constants)
    )


def _one_shape(several: Sequence[Rows | None]) -> bool:
    """Whether all are rows of the same batch and sequence."""
    known = [rows for rows in several if rows is not None]
    return len(known) == len(several) and len({rows.leading for rows in known}) == 1


def _flat_constant(shape: list[int], rows: Rows) -> list[int] | None:
    """The shape in which a constant that broadcasts over `rows` broadcasts over flat ones, if there is any."""
    if len(shape) < 2:
        return shape
    *leading, width = shape
    if set(leading) == {1}:
        return [width]
    per_position = rows.batch == 1 and leading[-1] == rows.seq and set(leading[:-1]) <= {1}
    return [leading[-1], width] if per_position else None


def _axis(node: ir.Node) -> int:
    default = -1 if node.op_type == "LayerNormalization" else 0
    return node.attributes["axis"].as_int() if "axis" in node.attributes else default


def _flat_axis_of_slice(node: ir.Node, rows: Rows) -> int | None:
    """Features are on axis 1 of flat rows; positions on axis 0 where there is one sequence only."""
    axes = node.inputs[3] if len(node.inputs) > 3 else None
    if axes is None or axes.const_value is None or axes.const_value.size != 1:
        return None
    axis = int(axes.const_value.numpy()[0]) % 3
    return 1 if axis == 2 else 0 if axis == 1 and rows.batch == 1 else None
