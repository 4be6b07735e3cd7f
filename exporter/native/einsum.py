"""`Einsum` of two operands as a matrix product between transposes.

Its labels are of both operands and the result (axes of matrices that are beside each other), of one operand and the
result (rows, or columns), and of both operands alone (what is summed over). With one at most of each of the last three
it is a product; with more rows too, where no matrices are beside each other. Any other stays as it is.
"""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir

from temport.exporter.graph.edit import Size, initializer, insert, named, replace
from temport.exporter.graph.standard_operator import is_standard


def spell_einsums(graph: ir.Graph) -> None:
    """Rewrites, in place, the nodes that are products."""
    for node in list(graph):
        if is_standard(node, "Einsum") and len(node.inputs) == 2:
            _spell(graph, node)


def _spell(graph: ir.Graph, node: ir.Node) -> None:
    a, b = node.inputs
    equation = node.attributes["equation"].as_string().replace(" ", "")
    parts = re.fullmatch(r"([A-Za-z]+),([A-Za-z]+)->([A-Za-z]+)", equation)
    if parts is None or a is None or b is None or a.shape is None or b.shape is None:
        return
    left, right, result = parts.groups()
    rows = [label for label in left if label not in right]
    columns = [label for label in right if label not in left]
    shared = [label for label in left if label in right]
    inner = [label for label in shared if label not in result]
    beside = [label for label in result if label in shared]
    once = all(len(set(labels)) == len(labels) for labels in (left, right, result))
    product = len(columns) <= 1 and len(inner) <= 1 and (len(rows) <= 1 or not beside)
    if not once or not product or not {*rows, *columns} <= {*result}:
        return
    sizes = dict(zip(left, a.shape, strict=True)) | dict(zip(right, b.shape, strict=True))
    name = node.outputs[0]

    def turned(value: ir.Value, labels: str, wanted: list[str], what: str) -> ir.Value:
        if list(labels) == wanted:
            return value
        order = [labels.index(label) for label in wanted]
        return insert(
            graph,
            node,
            "Transpose",
            [value],
            [sizes[label] for label in wanted],
            named(name, what),
            {"perm": order},
        )

    def sides(axes: list[list[str]]) -> list[Size]:
        return [sizes[label] if label else 1 for labels in axes for label in labels or [""]]

    def absent(axes: list[list[str]]) -> list[int]:
        labels = [label for labels in axes for label in labels or [""]]
        return [len(beside) + place for place, label in enumerate(labels) if not label]

    def matrix(value: ir.Value, labels: str, axes: list[list[str]], what: str) -> ir.Value:
        """With its last two axes `axes`, of which one may be missing."""
        value = turned(value, labels, [*beside, *axes[0], *axes[1]], what)
        missing = absent(axes)
        if not missing:
            return value
        at = initializer(graph, named(name, f"{what}/axis", at=missing[0]), np.array(missing, np.int64))
        shape = [*(sizes[label] for label in beside), *sides(axes)]
        return insert(graph, node, "Unsqueeze", [value, at], shape, named(name, f"{what}/matrix"))

    x, y = matrix(a, left, [rows, inner], "left"), matrix(b, right, [inner, columns], "right")
    shape = [*(sizes[label] for label in beside), *sides([rows, columns])]
    made = insert(graph, node, "MatMul", [x, y], shape, named(name, "product"))
    missing = absent([rows, columns])
    labels = [*beside, *rows, *columns]
    if missing:
        at = initializer(graph, named(name, "axes", count=len(missing)), np.array(missing, np.int64))
        made = insert(
            graph, node, "Squeeze", [made, at], [sizes[label] for label in labels], named(name, "entries")
        )
    replace(graph, node, turned(made, "".join(labels), list(result), "result"))
