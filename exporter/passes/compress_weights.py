"""Weights of dense and recurrent layers in the few bits that the source's weights were rounded to.

The source holds numbers that such a type has exactly, and no pass before makes new ones of them, so the integers and
scales are found again in the weights themselves, however they were turned, cut and put together. A weight in which they
are not stays float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph.edit import initializer, insert, named
from temport.exporter.graph.quantised import SMALLEST, Quantised, found_again
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.passes.notes import Notes


def compress_weights(model: ir.Model, kind: str, notes: Notes | None = None) -> bool:
    """Rewrite `model` in place; False where no weight is left that is worth it. Run it after all that change weights.

    kind  `int8`, `int4` or `fp16`
    """
    graph = model.graph
    made: dict[ir.Value, ir.Value | None] = {}
    for node in list(graph):
        for place, axes in _weights(node):
            value = node.inputs[place]
            if value is None or value.const_value is None or value.dtype != ir.DataType.FLOAT:
                continue
            weight = value.const_value.numpy()
            if weight.size < SMALLEST:
                continue
            if value not in made:
                found = found_again(weight, axes, kind)
                made[value] = None if found is None else _dequantised(graph, node, value, found)
            new = made[value]
            if new is not None:
                node.replace_input_with(place, new)
            elif notes is not None:
                notes.add(
                    "compress_weights", node, "keeps a weight in float32: it is no weight of the source"
                )
    common.RemoveUnusedNodesPass()(model)
    return any(new is not None for new in made.values())


def _weights(node: ir.Node) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Places of a node's weights, and the axes along which scales of theirs may lie."""
    if is_standard(node, "MatMul", "Gemm") or node.op_type == "FusedDense":
        weight = node.inputs[1]
        rank = len(weight.shape) if weight is not None and weight.shape is not None else 0
        if rank >= 2:
            turned = "transB" in node.attributes and node.attributes["transB"].as_int() == 1
            yield 1, (rank - 1, rank - 2) if turned else (rank - 2, rank - 1)
    elif is_standard(node, "LSTM", "GRU", "RNN") or node.op_type in ("FusedLSTM", "FusedGRU"):
        yield from ((1, (2,)), (2, (2,)))


def _dequantised(graph: ir.Graph, before: ir.Node, value: ir.Value, found: Quantised) -> ir.Value:
    """The weight as the graph computes it from what it is made of."""
    assert value.shape is not None
    kind = found.values.dtype.name
    values = initializer(graph, named(value, kind), found.values)
    if found.scale is None:
        new = insert(
            graph,
            before,
            "Cast",
            [values],
            list(value.shape),
            named(value, "wide"),
            {"to": ir.DataType.FLOAT.value},
        )
    else:
        scale = initializer(graph, named(value, "scale"), found.scale)
        attributes = {"axis": found.axis} | ({"block_size": found.block} if found.block else {})
        new = insert(
            graph,
            before,
            "DequantizeLinear",
            [values, scale],
            list(value.shape),
            named(value, "wide"),
            attributes,
        )
    new.type = ir.TensorType(ir.DataType.FLOAT)
    return new
