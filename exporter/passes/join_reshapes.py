"""One reshape in place of a chain of nodes that move nothing: reshapes, and transposes or selections of axes of size 1.

With one sequence or one frame most of what rearranges axes only renames them, and the flat rows of `flatten_rows`
meet other reshapes at their borders.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph import operators
from temport.exporter.graph.edit import initializer, insert, replace
from temport.exporter.graph.standard_operator import is_standard


def join_reshapes(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where there is nothing to join. Run it before bodies are attached."""
    graph = model.graph
    found = [node for node in list(graph) if _keeps_order(node) and _join(graph, node)]
    if found:
        common.RemoveUnusedNodesPass()(model)
    return bool(found)


def _keeps_order(node: ir.Node) -> bool:
    """Whether the output has the elements of the first input in their order, whatever its shape."""
    if not is_standard(node) or not node.inputs or node.inputs[0] is None:
        return False
    if node.inputs[0].const_value is not None:
        return False
    if operators.of(node).renames:
        return True
    shape = node.inputs[0].shape
    if shape is None:
        return False
    if node.op_type == "Transpose":
        perm = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(len(shape))[::-1]
        moved = [axis for axis in perm if shape[axis] != 1]
        return moved == sorted(moved)
    if node.op_type == "Gather":
        index = node.inputs[1].const_value if node.inputs[1] is not None else None
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        return index is not None and len(index.shape) == 0 and shape[axis] == 1
    return False


def _join(graph: ir.Graph, node: ir.Node) -> bool:
    """Take the node's output straight from where its chain begins, if that says less or the same with less."""
    output, source = node.outputs[0], node.inputs[0]
    while source is not None and not _same_shape(source, output):
        producer = source.producer()
        if producer is None or not _keeps_order(producer):
            break
        source = producer.inputs[0]
    if source is None or output.shape is None:
        return False
    if _same_shape(source, output) and not (output.is_graph_output() and _has_a_name_to_keep(source)):
        replace(graph, node, source)
        return True
    sizes = [size if isinstance(size, int) else -1 for size in output.shape]
    if (source is node.inputs[0] and node.op_type == "Reshape") or sizes.count(-1) > 1 or 0 in sizes:
        return False
    name = "x".join(str(size) for size in sizes)
    shape = initializer(graph, f"rows/shape_{name}", np.array(sizes, np.int64))
    replace(
        graph,
        node,
        insert(graph, node, "Reshape", [source, shape], list(output.shape), f"{output.name}/joined"),
    )
    return True


def _same_shape(one: ir.Value, other: ir.Value) -> bool:
    if one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
        return False
    pairs = list(zip(one.shape, other.shape, strict=True))
    differ = any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)
    equal = sum(a == b and (isinstance(a, int) or a.value is not None) for a, b in pairs)
    # with as many elements and all other sizes equal, one size that is not known is equal too
    return not differ and equal >= len(pairs) - 1


def _has_a_name_to_keep(value: ir.Value) -> bool:
    return value.is_graph_input() or value.is_graph_output()
