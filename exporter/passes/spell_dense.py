"""Every dense layer in one spelling, so that the passes behind have one form to look for.

    MatMul(x, W), Add(MatMul(x, W), b)    x `[..., inputs]`, W `[inputs, outputs]` and b `[outputs]` constant
    Gemm(x, W, b)                         the same on `[rows, inputs]`, with no attribute

An `Einsum` with a matrix, a convolution of one tap beside a transpose, a `Gemm` with a turned weight or factors, a
bias in front or of more axes are rewritten. A weight may be turned; no number of it changes but by the factors of a
`Gemm`, which are multiplied in float64 and rounded once. Where weights are stored in few bits none changes, so a `Gemm`
that scales its product stays.
"""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph.edit import initializer, insert, named, replace
from temport.exporter.graph.projection import PLAIN, product_of
from temport.exporter.graph.standard_operator import is_standard

TURN = [0, 2, 1]


def spell_dense(model: ir.Model, new_weights: bool = True) -> bool:
    """Rewrite `model` in place; False where every layer is spelled so. Run it before passes that look for layers.

    new_weights  whether weights may be given new numbers
    """
    graph = model.graph
    ways = {"Einsum": _einsum, "Gemm": _gemm, "Conv": _conv, "Add": _bias_behind}
    found = [
        node
        for node in list(graph)
        if is_standard(node, *ways)
        and (new_weights or node.attributes.get_float("alpha", 1.0) == 1)
        and ways[node.op_type](graph, node)
    ]
    if found:
        common.RemoveUnusedNodesPass()(model)
    return bool(found)


def _einsum(graph: ir.Graph, node: ir.Node) -> bool:
    """`...c,cd->...d`, the operands in either order and the matrix as it lies."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    parts = re.fullmatch(r"([\w.]+),([\w.]+)->([\w.]+)", equation)
    if parts is None or len(node.inputs) != 2:
        return False
    *terms, result = parts.groups()
    for x, matrix in ((0, 1), (1, 0)):
        data, weight, (rows, labels) = node.inputs[x], node.inputs[matrix], (terms[x], terms[matrix])
        if weight is None or weight.const_value is None or data is None or data.const_value is not None:
            continue
        if (
            len(labels) != 2
            or "." in labels
            or labels[0] == labels[1]
            or rows[-1] not in labels
            or rows[-1] == "."
        ):
            continue
        inner, outer = rows[-1], labels.replace(rows[-1], "")
        if (
            rows.count(inner) != 1
            or outer in rows
            or result != rows[:-1] + outer
            or len(set(rows)) != len(rows)
        ):
            continue
        turned = labels[0] == outer
        return _as_product(graph, node, data, _turned(graph, weight) if turned else weight)
    return False


def _as_product(graph: ir.Graph, node: ir.Node, data: ir.Value, weight: ir.Value) -> bool:
    output = node.outputs[0]
    if output.shape is None:
        return False
    replace(
        graph,
        node,
        insert(graph, node, "MatMul", [data, weight], list(output.shape), named(output, "product")),
    )
    return True


def _turned(graph: ir.Graph, weight: ir.Value) -> ir.Value:
    assert weight.const_value is not None
    return initializer(graph, named(weight, "inputs_first"), weight.const_value.numpy().T)


def _gemm(graph: ir.Graph, node: ir.Node) -> bool:
    """A constant weight turned, factors multiplied into weight and bias, a bias of one entry per output."""
    given = PLAIN | {name: attribute.value for name, attribute in node.attributes.items()}
    data, weight, bias = [*node.inputs, None][:3]
    if product_of(node) is not None or given["transA"] or data is None or data.const_value is not None:
        return False
    if weight is None or weight.const_value is None or (bias is not None and bias.const_value is None):
        return False
    matrix = weight.const_value.numpy().T if given["transB"] else weight.const_value.numpy()
    scaled = _times(matrix, given["alpha"])
    offset = (
        None if bias is None or bias.const_value is None else _times(bias.const_value.numpy(), given["beta"])
    )
    if scaled is None or (bias is not None and offset is None):
        return False
    if offset is not None:
        if offset.ndim == 2 and offset.shape[0] != 1:
            return False
        row = np.broadcast_to(offset.reshape(-1), (matrix.shape[1],))
        node.replace_input_with(2, initializer(graph, named(node.outputs[0], "bias"), row))
    turned = _turned(graph, weight) if given["transB"] and given["alpha"] == 1 else None
    node.replace_input_with(1, turned or initializer(graph, named(node.outputs[0], "weight"), scaled))
    node.attributes.clear()
    return True


def _times(array: np.ndarray, factor: float) -> np.ndarray | None:
    """The product, rounded once; None where it leaves the range of the type."""
    with np.errstate(all="ignore"):
        exact = array.astype(np.float64) * factor
        rounded: np.ndarray = array if factor == 1 else exact.astype(array.dtype)
    return rounded if np.isfinite(rounded).all() else None


def _conv(graph: ir.Graph, node: ir.Node) -> bool:
    """A convolution of one tap on `[batch, channels, frames]`, where a transpose beside it goes for it."""
    data, weight, bias = [*node.inputs, None][:3]
    output = node.outputs[0]
    if (
        data is None
        or data.shape is None
        or output.shape is None
        or weight is None
        or weight.const_value is None
    ):
        return False
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    plain = {
        "group": 1,
        "strides": [1],
        "dilations": [1],
        "pads": [0, 0],
        "auto_pad": "NOTSET",
        "kernel_shape": [1],
    }
    shape = weight.const_value.numpy().shape
    if len(data.shape) != 3 or shape[2:] != (1,) or any(_listed(v) != plain.get(k) for k, v in given.items()):
        return False
    if bias is not None and bias.const_value is None:
        return False
    source = _untransposed(data)
    behind = [use.node for use in output.uses()]
    turns_back = bool(behind) and all(_turns(user) and user.graph is graph for user in behind)
    if (source is None and not turns_back) or (turns_back and output.is_graph_output()):
        return False
    batch, _, frames = data.shape
    if source is None:
        source = insert(
            graph, node, "Transpose", [data], [batch, frames, shape[1]], named(output, "frames_first")
        )
        _set_perm(source)
    matrix = initializer(graph, named(weight, "matrix"), weight.const_value.numpy()[:, :, 0].T)
    rows = [batch, output.shape[2], shape[0]]
    result = insert(graph, node, "MatMul", [source, matrix], rows, named(output, "product"))
    if bias is not None:
        result = insert(graph, node, "Add", [result, bias], rows, named(output, "sum"))
    if turns_back:
        for user in (user for user in behind if not user.outputs[0].is_graph_output()):
            replace(graph, user, result)
    if output.uses() or output.is_graph_output():
        back = insert(graph, node, "Transpose", [result], list(output.shape), named(output, "channels_first"))
        _set_perm(back)
        replace(graph, node, back)
    return True


def _set_perm(value: ir.Value) -> None:
    producer = value.producer()
    assert producer is not None
    producer.attributes["perm"] = ir.AttrInt64s("perm", TURN)


def _turns(node: ir.Node) -> bool:
    return (
        is_standard(node, "Transpose")
        and "perm" in node.attributes
        and [*node.attributes["perm"].as_ints()] == TURN
    )


def _untransposed(value: ir.Value) -> ir.Value | None:
    producer = value.producer()
    return producer.inputs[0] if producer is not None and _turns(producer) else None


def _listed(value: object) -> object:
    return list(value) if isinstance(value, (list, tuple)) else value


def _bias_behind(graph: ir.Graph, node: ir.Node) -> bool:
    """A bias in front of its product, or with axes of size 1 before its own."""
    for index, product in enumerate(node.inputs):
        matmul, other = product.producer() if product is not None else None, node.inputs[1 - index]
        width = product_of(matmul) if matmul is not None and is_standard(matmul, "MatMul") else None
        if (
            product is None
            or product.shape is None
            or width is None
            or other is None
            or other.const_value is None
        ):
            continue
        shape = list(other.const_value.shape)
        if shape[-1:] != [width] or other.const_value.size != width or len(shape) > len(product.shape):
            continue
        if (index, shape) == (0, [width]):
            return False
        row = other
        if len(shape) > 1:
            row = initializer(graph, named(other, "row"), other.const_value.numpy().reshape(width))
        node.replace_input_with(0, product)
        node.replace_input_with(1, row)
        return True
    return False
