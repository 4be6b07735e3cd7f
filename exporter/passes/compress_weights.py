"""Weights of dense and recurrent layers in the few bits that the source's weights were rounded to.

The source holds numbers that such a type has exactly, and no pass before makes new ones of them, so the integers and
scales are found again in the weights themselves, however they were turned, cut and put together. A weight in which they
are not stays float32. Ops of ours take a weight as it is stored, but for fp8, which no kernel of ours reads; other
operators get what makes numbers of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.custom_ops.domain import DOMAIN
from temport.custom_ops.table import OPS
from temport.exporter.graph.edit import initializer, insert, named
from temport.exporter.graph.quantised import (
    FP8_NUMBERS,
    INT4_NUMBERS,
    SMALLEST,
    WIDER,
    Quantised,
    found_again,
)
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.passes.notes import Notes


def compress_weights(model: ir.Model, kind: str, notes: Notes | None = None) -> bool:
    """Rewrite `model` in place; False where no weight is left that is worth it. Run it after all that change weights.

    kind  `int8`, `int4`, `fp8` or `fp16`
    """
    graph = model.graph
    found: dict[ir.Value, Quantised | None] = {}
    numbers: dict[ir.Value, ir.Value] = {}
    scales: Scales = {}
    for node in list(graph):
        for place, axes in _weights(node):
            value = node.inputs[place]
            if value is None or value.const_value is None or value.dtype != ir.DataType.FLOAT:
                continue
            weight = value.const_value.numpy()
            if weight.size < SMALLEST:
                continue
            if value not in found:
                found[value] = _stored(weight, axes, kind)
            stored = found[value]
            if stored is None:
                if notes is not None:
                    notes.add(
                        "compress_weights",
                        node,
                        "keeps a weight in float32: for --max-loss, as none of the source, or as int4 turned",
                    )
            elif node.domain == DOMAIN and stored.values.dtype != FP8_NUMBERS:
                _store(graph, node, place, value, stored, scales)
            else:
                if value not in numbers:
                    numbers[value] = _numbers(graph, node, value, stored, scales)
                node.replace_input_with(place, numbers[value])
    common.RemoveUnusedNodesPass()(model)
    return any(stored is not None for stored in found.values())


def _stored(weight: np.ndarray, axes: tuple[int, ...], kind: str) -> Quantised | None:
    """What it is made of. A weight in int4 that was turned has blocks along its outputs, which OpenVINO misreads."""
    if kind != "int4":
        return found_again(weight, axes, kind)
    return found_again(weight, axes[:1], kind) or found_again(weight, axes, WIDER[kind])


def _weights(node: ir.Node) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Places of a node's weights, and the axes along which their blocks may lie: of inputs, or of outputs."""
    if is_standard(node, "MatMul", "Gemm") or (node.domain, node.op_type) == (DOMAIN, "FusedDense"):
        weight = node.inputs[1]
        rank = len(weight.shape) if weight is not None and weight.shape is not None else 0
        if rank >= 2:
            turned = "transB" in node.attributes and node.attributes["transB"].as_int() == 1
            yield 1, (rank - 1, rank - 2) if turned else (rank - 2, rank - 1)
    elif is_standard(node, "Conv"):
        weight, groups = node.inputs[1], node.attributes.get_int("group", 1)
        if weight is not None and weight.shape is not None and list(weight.shape)[2:] == [1] and groups == 1:
            yield 1, (1,)  # of one tap, which no transpose let become a dense layer
    elif is_standard(node, "LSTM", "GRU", "RNN") or (node.domain == DOMAIN and node.op_type in RECURRENT):
        yield from ((1, (2,)), (2, (2,)))


RECURRENT = ("FusedLSTM", "FusedGRU")


Scales = dict[tuple[ir.Value, int], ir.Value]
"""As nodes take them, by the weight and their rank."""


def _store(
    graph: ir.Graph, node: ir.Node, place: int, value: ir.Value, stored: Quantised, scales: Scales
) -> None:
    """Give a node of ours the weight as it is stored, and its scale."""
    names = [parameter.name for parameter in OPS[node.op_type].schema.inputs]
    node.replace_input_with(place, _values(graph, value, stored))
    if stored.scale is None:
        return
    rank, shape = stored.values.ndim, list(stored.scale.shape)
    outputs = rank - 2 if node.op_type in RECURRENT else rank - 1
    if not stored.block and stored.axis != outputs:
        shape = [shape[0] if axis == stored.axis else 1 for axis in range(rank)]
    at = names.index(f"{names[place]}_scale")
    node.resize_inputs(max(at + 1, len(node.inputs)))
    node.replace_input_with(at, _scale(graph, node, value, stored, shape, scales))


def _numbers(
    graph: ir.Graph, before: ir.Node, value: ir.Value, stored: Quantised, scales: Scales
) -> ir.Value:
    """The weight as the graph computes it from what is stored."""
    assert value.shape is not None
    name, shape, values = named(value, "numbers"), list(value.shape), _values(graph, value, stored)
    if stored.scale is None:
        new = insert(graph, before, "Cast", [values], shape, name, {"to": ir.DataType.FLOAT.value})
    else:
        attributes = {"axis": stored.axis} | ({"block_size": stored.block} if stored.block else {})
        inputs = [values, _scale(graph, before, value, stored, list(stored.scale.shape), scales)]
        new = insert(graph, before, "DequantizeLinear", inputs, shape, name, attributes)
    new.type = ir.TensorType(ir.DataType.FLOAT)
    return new


def _values(graph: ir.Graph, value: ir.Value, stored: Quantised) -> ir.Value:
    return initializer(graph, named(value, stored.values.dtype.name), stored.values)


def _scale(
    graph: ir.Graph, before: ir.Node, value: ir.Value, stored: Quantised, shape: list[int], scales: Scales
) -> ir.Value:
    """Those of int4 add an eighth to the weight, or more, so float16 stores them where it holds them."""
    assert stored.scale is not None
    rank, scale = len(shape), stored.scale.reshape(shape)
    if (value, rank) not in scales:
        half = scale.astype(np.float16)
        short = stored.values.dtype == INT4_NUMBERS and np.array_equal(half, scale)
        given = initializer(graph, named(value, "scale", axes=rank), half if short else scale)
        if short:
            wide = named(value, "wide_scale", axes=rank)
            given = insert(graph, before, "Cast", [given], shape, wide, {"to": ir.DataType.FLOAT.value})
            given.type = ir.TensorType(ir.DataType.FLOAT)
        scales[value, rank] = given
    return scales[value, rank]
