"""`LSTM` and `GRU` nodes as `FusedLSTM` and `FusedGRU`, which say the same in the same layouts.

The ops go forwards. Backwards is forwards over the frames in reverse order, with what comes out reversed again: the
same numbers, as long as every sequence has all its frames. A layer of both directions is two such nodes.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from temport.custom_ops.domain import DOMAIN, VERSION
from temport.custom_ops.table import OPS
from temport.exporter.graph.edit import Size, cut, initializer, insert, named, reverse
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.passes.notes import Notes

ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
"""Of each operator that is fused, those of one direction that the op has."""
WAYS = {"forward": ("forward",), "reverse": ("backward",), "bidirectional": ("forward", "backward")}
LENGTHS, FIRST_STATE, PEEPHOLES = 4, 5, 7
"""Inputs that the ops do not take, and the first of those between them."""


def fused_recurrent(model: ir.Model, notes: Notes | None = None) -> bool:
    """Rewrite `model` in place; False where no node can be. `notes` say of each LSTM and GRU that stays why."""
    found = []
    for node in model.graph.all_nodes():
        if is_standard(node, *ACTIVATIONS):
            why = next(_hindrances(node, model.graph), None)
            if why is None:
                found.append(node)
            elif notes is not None:
                notes.add("fused_recurrent", node, f"stays as it is: {why}")
    for node in found:
        _fuse(model.graph, node)
    if found:
        model.opset_imports[DOMAIN] = VERSION
    return bool(found)


def _hindrances(node: ir.Node, graph: ir.Graph) -> Iterator[str]:
    """What the op cannot do, or not better: weights that are no constants would be packed in every run."""
    ways, weights, states = _ways(node), _weights(node), _states(node)
    computed = {"layout": 0, "input_forget": 0, "linear_before_reset": 1, "direction": _direction(node)}
    computed["activations"] = ACTIVATIONS[node.op_type] * len(ways)
    given = {"linear_before_reset": 0} if node.op_type == "GRU" else {}
    given |= {name: attribute.value for name, attribute in node.attributes.items() if name != "hidden_size"}
    for name, value in given.items():
        value = list(value) if isinstance(value, (list, tuple)) else value
        if computed.get(name) != value:
            yield f"{name} = {value}"
    if node.graph is not graph:
        yield "it is part of a graph inside"
    if _input(node, LENGTHS) is not None:
        yield "its sequences have lengths of their own"
    if _input(node, PEEPHOLES) is not None:
        yield "it has peepholes"
    if any(value is not None and value.const_value is None for value in weights):
        yield "its weights are no constants"
    if any(value is not None and value.dtype != ir.DataType.FLOAT for value in weights):
        yield "its weights are not float32"
    cut_up = [] if ways == WAYS["forward"] else [node.inputs[0], *states]
    if any(value is not None and value.shape is None for value in cut_up):
        yield "the shapes of its inputs are unknown"


def _fuse(graph: ir.Graph, node: ir.Node) -> None:
    name = next(value.name for value in node.outputs if value.name)
    ways = _ways(node)
    made = [_one_way(graph, node, at, f"{name}/{way}", way == "backward") for at, way in enumerate(ways)]
    for index, (old, parts) in enumerate(zip(node.outputs, zip(*made, strict=True), strict=False)):
        if not old.name:
            continue
        value = parts[0]
        if len(parts) > 1:
            axis = 1 if index == 0 else 0
            shape = [len(parts) if i == axis else size for i, size in enumerate(parts[0].shape)]
            value = insert(graph, node, "Concat", parts, shape, f"{old.name}/both", {"axis": axis})
        old.name, value.name = f"{old.name}/before", old.name
        old.replace_all_uses_with(value, replace_graph_outputs=True)
    weights = _weights(node)
    graph.remove(node, safe=True)
    for value in weights:
        if value is not None and value.is_initializer() and not value.uses() and not value.is_graph_output():
            graph.initializers.pop(str(value.name))


def _one_way(graph: ir.Graph, node: ir.Node, at: int, name: str, backwards: bool) -> list[ir.Value]:
    """The node of the direction `at`: Y in the order of the frames, Y_h, and Y_c of an LSTM.

    Outputs that nobody uses get a name too: ONNX Runtime infers a node's types from every output of its body.
    """
    op = OPS[f"Fused{node.op_type}"]
    x, both = node.inputs[0], len(_ways(node)) > 1
    weights, states = _weights(node), _states(node)
    assert x is not None and weights[1] is not None and weights[1].shape is not None
    hidden = weights[1].shape[2]
    assert isinstance(hidden, int)
    if both:
        weights = [value and _of_direction(graph, value, at) for value in weights]
        states = [value and cut(graph, node, value, 0, at, at + 1) for value in states]
    frames = reverse(graph, node, x, 0) if backwards else x
    outputs = [ir.Value(name=f"{name}/{output.name}", type=x.type) for output in op.schema.outputs]
    if x.shape is not None:
        state: list[Size] = [1, x.shape[1], hidden]
        for value, shape in zip(outputs, ([x.shape[0], *state], state, state), strict=False):
            value.shape = ir.Shape(shape)
    fused = ir.node(
        op.name,
        [frames, *weights, *states],
        {"hidden_size": hidden},
        domain=DOMAIN,
        outputs=outputs,
        name=name if both else node.name,
    )
    graph.insert_before(node, fused)
    return [reverse(graph, node, outputs[0], 0), *outputs[1:]] if backwards else outputs


def _of_direction(graph: ir.Graph, weight: ir.Value, at: int) -> ir.Value:
    assert weight.const_value is not None
    return initializer(graph, named(weight, "of_direction", at=at), weight.const_value.numpy()[at : at + 1])


def _direction(node: ir.Node) -> str:
    return node.attributes["direction"].as_string() if "direction" in node.attributes else "forward"


def _ways(node: ir.Node) -> tuple[str, ...]:
    return WAYS[_direction(node)]


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _weights(node: ir.Node) -> list[ir.Value | None]:
    """W, R and B."""
    return [_input(node, index) for index in range(1, LENGTHS)]


def _states(node: ir.Node) -> list[ir.Value | None]:
    """The initial h, and c of an LSTM."""
    inputs = [p.name for p in OPS[f"Fused{node.op_type}"].schema.inputs]
    count = sum(name.startswith("initial_") for name in inputs)
    return [_input(node, FIRST_STATE + i) for i in range(count)]
