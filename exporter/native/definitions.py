"""Standard operators that have no form of their own become what ONNX defines them as, for the types at hand."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import onnx
import onnx_ir as ir

from temport.exporter.graph.standard_operator import is_standard

_DOMAIN = "temport.definition"


def spell_definitions(model: ir.Model, formed: Container[str]) -> None:
    """Makes calls of functions of such nodes of `model`, in place; inlining them is the next thing to do.

    formed  the operators that have a form
    """
    version = model.opset_imports[""]
    for number, node in enumerate(list(model.graph)):
        if is_standard(node) and node.op_type not in formed and onnx.defs.has(node.op_type, version, ""):
            function = _definition(node, version)
            if function is not None:
                function.domain, function.name = _DOMAIN, f"{node.op_type}_{number}"
                model.functions[function.identifier()] = function
                model.opset_imports[_DOMAIN] = 1
                node.domain, node.op_type = function.domain, function.name
                node.attributes.clear()


def _definition(node: ir.Node, version: int) -> ir.Function | None:
    """The function of an operator that depends on which inputs and types a node has; None where it has none."""
    schema: Any = onnx.defs.get_schema(node.op_type, version, "")  # whose stubs lack these
    if not schema.has_context_dependent_function:
        return None
    types = [
        b"" if value is None or value.type is None else _type(value).SerializeToString()
        for value in node.inputs
    ]
    body = schema.get_context_dependent_function(ir.to_proto(node).SerializeToString(), types)
    if not body:
        return None
    function = onnx.FunctionProto.FromString(body)
    del function.output[len(node.outputs) :]
    made = {name for inner in function.node for name in inner.output}
    for name in function.output:
        if name not in made:  # which the node does not ask for
            function.node.add(op_type="Identity", input=function.input[:1], output=[name])
    if node.op_type == "Attention" and _covers_keys(node):
        for inner in function.node:
            if inner.op_type == "Pad":  # of a mask that is shorter than the keys
                inner.op_type = "Identity"
                del inner.input[1:], inner.attribute[:]
    return ir.from_proto(function)


def _covers_keys(node: ir.Node) -> bool:
    """Whether the mask of an Attention has as many columns as there are keys."""
    keys, mask, past = ([*node.inputs, *[None] * 6][i] for i in (1, 3, 4))
    if keys is None or mask is None or past is not None or keys.shape is None or mask.shape is None:
        return False
    return keys.shape[-2] == mask.shape[-1]


def _type(value: ir.Value) -> onnx.TypeProto:
    return ir.to_proto(value).type
