"""Inputs of dense layers rounded to int8 or fp8 times a scale, in the graph of an ONNX file, as torch spells it.

A layer is a `MatMul` or a `Gemm`, and its name that of what it gives: nodes may have none, or share one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from temport.exporter.errors import UserError
from temport.exporter.graph.rounding import ENDS
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.onnx_source.constants import constants
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.onnx_source.reading import opset_of

FIRST_OPSETS = {"int8": 11, "fp8": 19}
"""With `Round`, and with a `Clip` whose ends are inputs; with `Cast` to fp8."""
_OTHERS = {"Div": ("scale",), "Clip": ("least", "most"), "Mul": ("scale",)}
"""What an operator takes besides the value."""
_TO = {"fp8": TensorProto.FLOAT8E4M3FN, "float32": TensorProto.FLOAT}
_STEPS = {"int8": ("Div", "Round", "Clip", "Mul"), "fp8": ("Div", "Clip", "fp8", "float32", "Mul")}
"""Operators, and types that are converted to."""


def layers_of(module: OnnxModule, weights: Sequence[str], kind: str) -> dict[str, str]:
    """Each layer whose weight is one of these and whose input is computed -> the name of its weight.

    UserError for a file of an opset that cannot say how they round.
    """
    graph = module.model.graph
    known = constants(module.model, {*dict(module.named_buffers()), *(t.name for t in graph.initializer)})
    found = {
        node.output[0]: source[0]
        for node in graph.node
        if is_standard(node, "MatMul", "Gemm") and node.input[0] not in known
        for source in [known.get(node.input[1])]
        if source is not None and source[0] in weights
    }
    if found and (opset := opset_of(module.model)) < FIRST_OPSETS[kind]:
        raise UserError(
            f"--activations {kind} needs a file of opset {FIRST_OPSETS[kind]} or newer, and this one has {opset}; "
            "export it again from where it came, or leave --activations out"
        )
    return found


def inputs_of(module: OnnxModule, layers: Sequence[str]) -> dict[str, str]:
    """What each layer takes, by the layer."""
    return {n.output[0]: n.input[0] for n in module.model.graph.node if n.output[0] in layers}


@contextmanager
def giving(module: OnnxModule, values: Sequence[str]) -> Iterator[None]:
    """The module gives these values of its graph as well, for a while."""
    model = onnx.ModelProto()
    model.CopyFrom(module.model)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(values))
    with module.computing(model):
        yield


def rounding_inputs(model: onnx.ModelProto, scales: Mapping[str, float], kind: str) -> onnx.ModelProto:
    """A copy of the graph whose layers round what they take. UserError for a layer that it has not."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    if missing := scales.keys() - {name for node in graph.node for name in node.output}:
        raise UserError(f"the bundle rounds the input of {min(missing)}, a layer that the file has not")
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}

    def fresh(layer: str, what: str) -> str:
        name = f"{layer}/{what}"
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    del graph.node[:]
    for node in model.graph.node:
        layer = node.output[0]
        if layer not in scales:
            graph.node.append(node)
            continue
        numbers = dict(zip(("scale", "least", "most"), (scales[layer], *ENDS[kind]), strict=True))
        constants = {what: fresh(layer, what) for what in numbers}
        graph.initializer.extend(
            numpy_helper.from_array(np.array(number, np.float32), constants[what])
            for what, number in numbers.items()
        )
        value = node.input[0]
        for step in _STEPS[kind]:
            given = [value, *(constants[what] for what in _OTHERS.get(step, ()))]
            value = fresh(layer, step)
            made_so = helper.make_node("Cast" if step in _TO else step, given, [value], value)
            if step in _TO:
                made_so.attribute.append(helper.make_attribute("to", _TO[step]))
            graph.node.append(made_so)
        graph.node.append(node)
        graph.node[-1].input[0] = value
    return made
