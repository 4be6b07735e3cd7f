"""A torch op as one ONNX node."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from onnx import defs
from onnxscript.values import Op, Opset


def translation(schema: defs.OpSchema, torch_op: torch._ops.OpOverload) -> Callable[..., Any]:
    """What writes the node for `torch.onnx.export(custom_translation_table=...)`.

    The op's tensors are the node's inputs in their order; what follows them are attributes of the same names. Every
    attribute is written: a native kernel or a function body never sees a schema's defaults.
    """
    operator = Op(Opset(schema.domain, schema.since_version), schema.name, schema)
    signature = inspect.Signature(
        [
            inspect.Parameter(argument.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Any)
            for argument in torch_op._schema.arguments
        ]
    )
    inputs = list(signature.parameters)[: len(schema.inputs)]

    def translate(*given: Any, **named: Any) -> Any:
        arguments = signature.bind(*given, **named).arguments
        tensors = [arguments.pop(name) for name in inputs]
        values = {name: int(x) if isinstance(x, bool) else x for name, x in arguments.items()}
        return operator(*tensors, **values)

    translate.__signature__ = signature  # type: ignore[attr-defined]  # torch reads the op's arguments off it
    return translate
