"""ONNX Runtime sessions over one native node, in every element type, from numpy float32 arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import helper

from temport.custom_ops.library import library_path

NAMES = ("Q", "K", "V", "key_mask")
Array = npt.NDArray[Any]
TORCH = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
ONNX = {
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
    "bfloat16": onnx.TensorProto.BFLOAT16,
}
NODE = "layer_7_attention"


def library() -> str:
    """The native library; a checkout or an install without it is an error, not a reason to skip."""
    path = library_path()
    assert path is not None, (
        "the native op library is not built: pip install ., or cmake --preset default && "
        "cmake --build --preset default in custom_ops/native"
    )
    return str(path)


def options(threads: int = 1) -> onnxruntime.SessionOptions:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 4
    settings.register_custom_ops_library(library())
    return settings


def model(
    op: str,
    inputs: Sequence[Array | None],
    attributes: Mapping[str, Any],
    dtype: str = "float32",
    static: bool = False,
) -> onnx.ModelProto:
    """Float32 inputs, Casts to `dtype` around the node; absent inputs are empty names."""
    nodes, names, infos = [], [], []
    for name, x in zip(NAMES, inputs, strict=False):
        if x is None:
            names.append("")
            continue
        shape = list(x.shape) if static else [f"{name}_{i}" for i in range(x.ndim)]
        kind = onnx.TensorProto.BOOL if x.dtype == bool else onnx.TensorProto.FLOAT
        infos.append(helper.make_tensor_value_info(name, kind, shape))
        names.append(name)
        if x.dtype != bool and dtype != "float32":
            nodes.append(helper.make_node("Cast", [name], [f"{name}_low"], to=ONNX[dtype]))
            names[-1] = f"{name}_low"
    nodes.append(helper.make_node(op, names, ["Y_low"], NODE, domain="temport", **attributes))
    nodes.append(helper.make_node("Cast", ["Y_low"], ["Y"], to=onnx.TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes, "one_node", infos, [helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, None)]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("temport", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def session(proto: onnx.ModelProto, threads: int = 1) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options(threads), providers=["CPUExecutionProvider"]
    )


def run(
    op: str,
    inputs: Sequence[Array | None],
    attributes: Mapping[str, Any],
    dtype: str = "float32",
    threads: int = 1,
) -> Array:
    """The node's output as float32."""
    feed = {n: x for n, x in zip(NAMES, inputs, strict=False) if x is not None}
    return session(model(op, inputs, attributes, dtype), threads).run(None, feed)[0]


def rounded(inputs: Sequence[Array | None], dtype: str) -> list[Array | None]:
    """The float32 inputs after rounding to `dtype`: what the node computes with, exactly."""
    if dtype == "float32":
        return list(inputs)
    return [
        x if x is None or x.dtype == bool else torch.from_numpy(x).to(TORCH[dtype]).float().numpy()
        for x in inputs
    ]


def allowance(truth: Array, torch_output: torch.Tensor, dtype: str) -> float:
    """Twice torch's own error in that dtype, plus eight roundings of the largest output.

    The eight cover the dot product, the exponential, the sum and the division where torch happens to be exact.
    """
    torch_error = np.abs(torch_output.double().numpy() - truth).max(initial=0)
    return 2 * torch_error + 8 * torch.finfo(TORCH[dtype]).eps * np.abs(truth).max(initial=0)
