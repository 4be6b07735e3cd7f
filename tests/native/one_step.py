"""ONNX Runtime over one native node of a step model: state goes in and comes out, copied or held in place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from native_sessions import NODE, ONNX, Array, options
from onnx import helper

IN_PLACE = {"NextKeys": "Keys", "NextValues": "Values"}
"""The outputs of a cached op that may lie in the memory of an input, and which."""


def model(
    op: str,
    inputs: Mapping[str, Array],
    outputs: Collection[str],
    attributes: Mapping[str, Any],
    dtype: str = "float32",
) -> onnx.ModelProto:
    """Float32 tensors outside, Casts to `dtype` around the node; an int64 input stays what it is."""
    float32 = onnx.TensorProto.FLOAT
    low = {n: n if dtype == "float32" or x.dtype == np.int64 else f"{n}_low" for n, x in inputs.items()}
    results = {n: n if dtype == "float32" else f"{n}_low" for n in outputs}
    kinds = {n: onnx.TensorProto.INT64 if x.dtype == np.int64 else float32 for n, x in inputs.items()}
    nodes = [helper.make_node("Cast", [n], [m], to=ONNX[dtype]) for n, m in low.items() if n != m]
    nodes += [
        helper.make_node(op, list(low.values()), list(results.values()), NODE, domain="temport", **attributes)
    ]
    nodes += [helper.make_node("Cast", [m], [n], to=float32) for n, m in results.items() if n != m]
    graph = helper.make_graph(
        nodes,
        "one_node",
        [helper.make_tensor_value_info(n, kinds[n], x.shape) for n, x in inputs.items()],
        [helper.make_tensor_value_info(n, float32, None) for n in outputs],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("temport", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def run(
    op: str,
    inputs: Mapping[str, Array],
    outputs: Collection[str],
    attributes: Mapping[str, Any],
    dtype: str = "float32",
    threads: int = 1,
    in_place: Mapping[str, str] | None = None,
) -> dict[str, Array]:
    """The outputs by name. `in_place` gives the outputs (float32) that are bound to the memory of an input."""
    proto = model(op, inputs, outputs, attributes, dtype)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options(threads))
    binding = session.io_binding()
    held = {n: onnxruntime.OrtValue.ortvalue_from_numpy(x.copy()) for n, x in inputs.items()}
    for name, value in held.items():
        binding.bind_ortvalue_input(name, value)
    for name in outputs:
        if in_place and name in in_place:
            binding.bind_ortvalue_output(name, held[in_place[name]])
        else:
            binding.bind_output(name)
    session.run_with_iobinding(binding)
    return dict(zip(outputs, binding.copy_outputs_to_cpu(), strict=True))
