"""ONNX Runtime over one node of an op that stands for standard operators, natively or by its body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from native_sessions import Array, options
from onnx import helper, numpy_helper

from temport.custom_ops.op import Specialisation
from temport.custom_ops.table import OPS

EPS = np.finfo(np.float32).eps


def proto(
    op: str,
    inputs: Sequence[Array | None],
    attributes: Mapping[str, Any],
    constants: bool,
    outputs: int,
    body: bool,
) -> onnx.ModelProto:
    """One node; all inputs but the first are constants where `constants`, and the body goes along where `body`."""
    schema = OPS[op].schema
    names = [p.name if x is not None else "" for p, x in zip(schema.inputs, inputs, strict=False)]
    fixed = {n for n in names[1:] if n} if constants else set()
    given_inputs = {n: x for n, x in zip(names, inputs, strict=True) if x is not None}
    results = [p.name for p in schema.outputs][:outputs]
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(op, names, results, "layer_7", domain="temport", **attributes)],
        "one_node",
        [
            helper.make_tensor_value_info(n, float32, x.shape)
            for n, x in given_inputs.items()
            if n not in fixed
        ],
        [helper.make_tensor_value_info(n, float32, None) for n in results],
        [numpy_helper.from_array(given_inputs[n], n) for n in sorted(fixed)],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    if body:
        at = Specialisation(attributes=attributes, query_length=None, key_length=None, opset=20)
        model.functions.append(OPS[op].body(at).function)
    return model


def run(
    op: str,
    inputs: Sequence[Array | None],
    attributes: Mapping[str, Any] | None = None,
    constants: bool = True,
    outputs: int = 1,
    body: bool = False,
    threads: int = 1,
) -> list[Array]:
    """In ONNX Runtime, with the native kernel or, where `body`, with the function body."""
    model = proto(op, inputs, attributes or {}, constants, outputs, body)
    own = onnxruntime.SessionOptions() if body else options(threads)
    session = onnxruntime.InferenceSession(model.SerializeToString(), own)
    names = [p.name for p in OPS[op].schema.inputs]
    feed = {n: x for n, x in zip(names, inputs, strict=False) if x is not None}
    return session.run(None, {i.name: feed[i.name] for i in session.get_inputs()})


def tensors(seed: int, *shapes: tuple[int, ...]) -> list[Array]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]
