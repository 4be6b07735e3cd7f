"""Dense layers, and what works row by row between them, on `[batch*seq, C]` in place of `[batch, seq, C]`.

A dense layer is then one `Gemm` with its bias inside. On three axes it is a `MatMul` and an `Add`, around which a
runtime puts reshapes of its own, two per layer, or which it leaves as a product and one more pass over the result.
Here a reshape stands only where rows meet what needs the axes apart: attention, a convolution, an output.

Nodes that are connected and treat every row by itself form an island. An island is rewritten where that takes fewer
reshapes than its dense layers would, and where every shape can be proved.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph.dense_layer import only_user
from temport.exporter.graph.edit import initializer
from temport.exporter.graph.projection import Dense, dense_behind
from temport.exporter.graph.rows import Rows, adapt, by_row, rows_of
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.passes.notes import Notes

RESHAPES_PER_LAYER = 2
"""What ONNX Runtime puts around a dense layer on three axes, to compute it as a `Gemm`."""


def flatten_rows(model: ir.Model, notes: Notes | None = None) -> bool:
    """Rewrite `model` in place; False where nothing gains by it. Run it before bodies are attached."""
    graph = model.graph
    islands = []
    for island in filter(_gains, _islands(graph)):
        why = _obstacle(graph, island)
        if why is None:
            islands.append(island)
        elif notes is not None:
            notes.add(
                "flatten_rows", next(node for node in island if _layer(node)), f"keeps three axes: {why}"
            )
    flat: dict[ir.Value, ir.Value] = {}
    for island in islands:
        _flatten(graph, island, flat)
    if islands:
        common.RemoveUnusedNodesPass()(model)
    return bool(islands)


def _islands(graph: ir.Graph) -> list[list[ir.Node]]:
    """Connected row-wise nodes, each island in graph order and cut down to where its borders are fewest."""
    nodes = [node for node in graph if by_row(node)]
    parent = {node: node for node in nodes}

    def root(node: ir.Node) -> ir.Node:
        while parent[node] is not node:
            node = parent[node]
        return node

    for node in nodes:
        for value in node.inputs:
            producer = value.producer() if value is not None else None
            if producer in parent:
                parent[root(node)] = root(producer)
    groups: dict[ir.Node, list[ir.Node]] = {}
    for node in nodes:
        groups.setdefault(root(node), []).append(node)
    return [_trimmed(island) for island in groups.values()]


def _trimmed(island: list[ir.Node]) -> list[ir.Node]:
    """Without the nodes at its edge that cost more borders than they save (a split, a residual beside it)."""
    inside = set(island)
    changed = True
    while changed:
        changed = False
        for node in island:
            if node not in inside or node.op_type == "MatMul":
                continue
            near = [v for v in (*node.inputs, *node.outputs) if v is not None and rows_of(v) is not None]
            before = sum(_crosses(v, inside) for v in near)
            after = sum(_crosses(v, inside - {node}) for v in near)
            if after < before:
                inside.remove(node)
                changed = True
    return [node for node in island if node in inside]


def _crosses(value: ir.Value, inside: set[ir.Node]) -> bool:
    """Whether rows have to be reshaped here: made on one side of the border and wanted on the other."""
    users = {use.node in inside for use in value.uses()} | ({False} if value.is_graph_output() else set())
    return (value.producer() not in inside) in users


def _gains(island: list[ir.Node]) -> bool:
    inside = set(island)
    values = {v for node in island for v in (*node.inputs, *node.outputs) if v is not None and rows_of(v)}
    borders = sum(_crosses(value, inside) for value in values)
    return borders < RESHAPES_PER_LAYER * sum(_layer(node) is not None for node in island)


def _layer(add: ir.Node) -> Dense | None:
    """The dense layer that ends in this node, where nothing else takes its product."""
    layer = dense_behind(add.outputs[0]) if is_standard(add, "Add") else None
    if layer is None or not by_row(layer.product) or only_user(layer.product.outputs[0]) is not add:
        return None
    return layer


def _obstacle(graph: ir.Graph, island: list[ir.Node]) -> str | None:
    if not _can_return(graph, island):
        return "batch and sequence are open, and no input has both sizes of its result"
    if not _is_of_one_input(graph, island):
        return "batch and sequence are open, and several inputs have to agree in them"
    return None


def _can_return(graph: ir.Graph, island: list[ir.Node]) -> bool:
    """Whether every result that is needed on three axes can be given them again."""
    inside = set(island)
    left = [v for node in island for v in node.outputs if _crosses(v, inside)]
    return all(_is_fixed(rows_of(v)) or _like(graph, v) is not None for v in left)


def _is_of_one_input(graph: ir.Graph, island: list[ir.Node]) -> bool:
    """Whether no two inputs of the graph say how many rows there are, where batch and sequence are both open.

    2 sequences of 6 and 3 of 4 are 12 rows each: flat, no runtime could tell that such inputs do not belong together.
    """
    rows = rows_of(island[0].outputs[0])
    if rows is None or _is_fixed(rows):
        return True
    return sum(bool(v.uses()) and set(rows.leading) <= set(v.shape or ()) for v in graph.inputs) <= 1


def _is_fixed(rows: Rows | None) -> bool:
    return rows is not None and (isinstance(rows.batch, int) or isinstance(rows.seq, int))


def _like(graph: ir.Graph, value: ir.Value) -> ir.Value | None:
    """An input of the graph with the first two axes of `value`."""
    rows = rows_of(value)
    if rows is None:
        return None
    return next((v for v in graph.inputs if v.shape is not None and tuple(v.shape[:2]) == rows.leading), None)


def _flatten(graph: ir.Graph, island: list[ir.Node], flat: dict[ir.Value, ir.Value]) -> None:
    """Rewrite one island; `flat` holds the rows of what comes from outside, which islands share."""
    inside = set(island)
    layers = {node: found for node in island if (found := _layer(node)) is not None}
    made = [(v, rows) for node in island for v in node.outputs if (rows := rows_of(v)) is not None]
    left = [(v, rows) for v, rows in made if _crosses(v, inside)]
    for node in island:
        adapt(graph, node)
    for node in island:
        for index, value in enumerate(node.inputs):
            rows = rows_of(value)
            if value is None or rows is None or value.producer() in inside:
                continue
            if value not in flat:
                flat[value] = _rows(graph, value, rows)
            node.replace_input_with(index, flat[value])
    for value, rows in left:
        _return(graph, value, rows, inside)
    for value, rows in made:
        value.shape = rows.flat
    for add, layer in layers.items():
        _one_gemm(graph, add, layer)


def _rows(graph: ir.Graph, value: ir.Value, rows: Rows) -> ir.Value:
    """`value` on two axes, called `<name>/rows`, from where it is made."""
    shape = initializer(graph, f"rows/of_{rows.width}", np.array([-1, rows.width]))
    flat = ir.Value(name=f"{value.name}/rows", type=value.type, shape=rows.flat)
    reshape = ir.node("Reshape", [value, shape], outputs=[flat], name=flat.name)
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], reshape)
    else:
        graph.insert_after(producer, reshape)
    return flat


def _return(graph: ir.Graph, value: ir.Value, rows: Rows, inside: set[ir.Node]) -> None:
    """`value` with three axes and its name for those outside; the flat one is called `<name>/rows`."""
    name = value.name
    value.name = f"{name}/rows"
    producer = value.producer()
    assert producer is not None
    if _is_fixed(rows):
        sizes = [size if isinstance(size, int) else -1 for size in (rows.batch, rows.seq)]
        named = "x".join(str(size) for size in (*sizes, rows.width))
        target = initializer(graph, f"rows/shape_{named}", np.array([*sizes, rows.width]))
    else:
        target = _sizes(graph, value, rows, producer)
    outside = ir.Value(name=name, type=value.type, shape=rows.axes)
    reshape = ir.node("Reshape", [value, target], outputs=[outside], name=f"{name}/axes")
    graph.insert_after(producer, reshape)
    for use in list(value.uses()):
        if use.node not in inside and use.node is not reshape:
            use.node.replace_input_with(use.idx, outside)
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[index] = outside


def _sizes(graph: ir.Graph, value: ir.Value, rows: Rows, before: ir.Node) -> ir.Value:
    """`[batch, seq, width]` at run time, for rows whose two sizes are both open."""
    like = _like(graph, value)
    assert like is not None, "checked before the island was rewritten"
    kind, name = ir.TensorType(ir.DataType.INT64), f"{value.name}/shape"
    leading = ir.Value(name=f"{name}/leading", type=kind, shape=ir.Shape([2]))
    width = initializer(graph, f"rows/width_{rows.width}", np.array([rows.width]))
    whole = ir.Value(name=name, type=kind, shape=ir.Shape([3]))
    shape = ir.node("Shape", [like], {"start": 0, "end": 2}, outputs=[leading], name=leading.name)
    join = ir.node("Concat", [leading, width], {"axis": 0}, outputs=[whole], name=name)
    graph.insert_before(before, [shape, join])
    return whole


def _one_gemm(graph: ir.Graph, add: ir.Node, layer: Dense) -> None:
    old = add.outputs[0]
    output = ir.Value(name=old.name, type=old.type, shape=old.shape)
    gemm = ir.node("Gemm", [layer.data, layer.weight, add.inputs[1]], outputs=[output], name=add.name)
    graph.insert_before(add, gemm)
    old.replace_all_uses_with(output)
    graph.remove([add, layer.product], safe=True)
