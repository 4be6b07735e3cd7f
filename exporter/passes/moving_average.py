"""Two causal depthwise convolutions between transposes as one `MovingAverage`, which takes rows as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.custom_ops.domain import DOMAIN
from temport.exporter.graph.dense_layer import only_user
from temport.exporter.graph.edit import initializer, insert, replace
from temport.exporter.graph.layers import keep_layer, layer_of
from temport.exporter.graph.standard_operator import is_standard

FRAMES_LAST, FRAMES_FIRST = [0, 3, 1, 2], [0, 2, 3, 1]
"""`[batch, 1, T, C]` -> `[batch, C, 1, T]`, and back."""


@dataclass(frozen=True)
class _Average:
    """`first` and `last` are the transposes; `near` and `far` the weights `[channels, 1, 1, taps]`."""

    first: ir.Node
    last: ir.Node
    near: ir.Value
    far: ir.Value


def moving_average(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where there is none. Run it before `flatten_rows` and `join_reshapes`."""
    graph = model.graph
    found = [average for node in list(graph) if (average := _average(node)) is not None]
    for average in found:
        _replace(graph, average)
    if found:
        model.opset_imports[DOMAIN] = 1  # shapes are inferred once more before the bodies are attached
        common.RemoveUnusedNodesPass()(model)
    return bool(found)


def _average(first: ir.Node) -> _Average | None:
    if not _transposes(first, FRAMES_LAST):
        return None
    near = only_user(first.outputs[0])
    far = only_user(near.outputs[0]) if near is not None else None
    last = only_user(far.outputs[0]) if far is not None else None
    if near is None or far is None or last is None or not _transposes(last, FRAMES_FIRST):
        return None
    shape = _causal(near, 1)
    taps = shape[3] if shape is not None else 0
    if shape is None or _causal(far, taps) != shape:
        return None
    assert near.inputs[1] is not None and far.inputs[1] is not None
    return _Average(first, last, near.inputs[1], far.inputs[1])


def _transposes(node: ir.Node, perm: list[int]) -> bool:
    """Whether it moves the frames of a float32 `[batch, 1, T, C]`, or back."""
    value = node.inputs[0] if node.inputs else None
    if not is_standard(node, "Transpose") or value is None or value.shape is None or len(value.shape) != 4:
        return False
    given = node.attributes["perm"].as_ints() if "perm" in node.attributes else None
    single = 1 if perm == FRAMES_LAST else 2
    return list(given or []) == perm and value.shape[single] == 1 and value.dtype == ir.DataType.FLOAT


def _causal(node: ir.Node, apart: int) -> list[int] | None:
    """The shape of the constant weight of a depthwise Conv whose taps are `apart` frames from each other and reach
    from the frame itself into the past."""
    weight = node.inputs[1] if is_standard(node, "Conv") and len(node.inputs) == 2 else None
    if weight is None or weight.const_value is None or len(weight.const_value.shape) != 4:
        return None
    shape = [int(size) for size in weight.const_value.numpy().shape]
    channels, one, height, taps = shape
    expected = {
        "group": channels,
        "dilations": [1, apart],
        "pads": [0, apart * (taps - 1), 0, 0],
        "strides": [1, 1],
        "auto_pad": "NOTSET",
        "kernel_shape": [1, taps],
    }
    defaults = {"group": 1, "dilations": [1, 1], "pads": [0, 0, 0, 0]}
    given = defaults | {name: _plain(attribute.value) for name, attribute in node.attributes.items()}
    if apart == 0 or [one, height] != [1, 1] or any(expected[name] != value for name, value in given.items()):
        return None
    return shape


def _plain(value: object) -> object:
    return list(value) if isinstance(value, (list, tuple)) else value


def _replace(graph: ir.Graph, average: _Average) -> None:
    """Between a Squeeze and an Unsqueeze, which `join_reshapes` takes away with what brought the axis in."""
    last, given, weights = average.last, average.first.inputs[0], average.near.const_value
    far = last.inputs[0].producer() if last.inputs[0] is not None else None
    assert far is not None
    assert given is not None and given.shape is not None and weights is not None
    channels, _, _, taps = weights.numpy().shape
    shape = [given.shape[0], given.shape[2], given.shape[3]]
    one = initializer(graph, "frames/axis", np.array([1], np.int64))
    name = last.outputs[0].name
    rows = insert(graph, last, "Squeeze", [given, one], shape, f"{name}/given")
    node = ir.node(
        "MovingAverage",
        [rows, average.near, average.far],
        {"channels": channels, "taps": taps},
        domain=DOMAIN,
        outputs=[ir.Value(name=f"{name}/frames", type=given.type, shape=ir.Shape(shape))],
        name=f"{name}/average",
    )
    keep_layer(node, layer_of(far))
    graph.insert_before(last, node)
    apart = insert(graph, last, "Unsqueeze", [node.outputs[0], one], list(given.shape), f"{name}/apart")
    replace(graph, last, apart)
