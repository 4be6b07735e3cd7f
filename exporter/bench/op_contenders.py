"""The ways to compute one attention problem that `temport bench ops` compares.

Each is prepared once and is then a call without arguments that leaves `[1, length, heads*dim]` or
`[1, heads, length, dim]`; every contender gets its inputs in the layout it likes best.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.inliner
import onnx_ir as ir
import onnxruntime
import torch
from onnx import TensorProto, helper

from temport.custom_ops.domain import DOMAIN
from temport.custom_ops.library import library_path
from temport.custom_ops.op import Host
from temport.exporter.bench.contest import Call
from temport.exporter.bench.op_cases import OpCase
from temport.exporter.bench.openvino_peer import openvino_call
from temport.exporter.quiet import quiet
from temport.exporter.runtimes.bound import onnxruntime_call
from temport.exporter.runtimes.onnxruntime_cpu import session_options

OPSET, IR_VERSION = 23, 11


def node_model(case: OpCase, form: str | None) -> onnx.ModelProto:
    """The custom node alone over packed QKV, or its function body of that form, inlined."""
    node = helper.make_node(case.op.name, ["Q"], ["Y"], domain=case.op.domain, **case.attributes)
    model = _model([node], {"Q": case.qkv.shape}, {"Y": (1, case.length, case.heads * case.dim)})
    if form is None:
        return model
    (made,) = ir.from_proto(model).graph
    model.functions.append(case.op.body_of(made, Host(opset=OPSET, form=form)).function)
    return onnx.inliner.inline_local_functions(model)


def native(case: OpCase, threads: int) -> Call:
    return _onnxruntime(node_model(case, None), {"Q": case.qkv}, threads, registered=True)


def body_in_onnxruntime(form: str) -> Callable[[OpCase, int], Call]:
    return lambda case, threads: _onnxruntime(node_model(case, form), {"Q": case.qkv}, threads)


def body_in_openvino(form: str) -> Callable[[OpCase, int], Call]:
    def prepare(case: OpCase, threads: int) -> Call:
        return openvino_call(node_model(case, form).SerializeToString(), {"Q": case.qkv}, threads)

    return prepare


def onnx_attention(case: OpCase, threads: int) -> Call:
    """ai.onnx Attention (opset 23): is_causal, or the window as a bool mask."""
    inputs = dict(zip(("Q", "K", "V"), case.by_head, strict=True))
    names = list(inputs)
    masks = []
    if case.window:
        masks.append(onnx.numpy_helper.from_array(case.rule.array(case.length, case.length), "mask"))
        names.append("mask")
    node = helper.make_node("Attention", names, ["Y"], is_causal=int(not case.window), scale=case.scale)
    shapes = {name: x.shape for name, x in inputs.items()}
    model = _model([node], shapes, {"Y": shapes["Q"]}, initializers=masks)
    return _onnxruntime(model, inputs, threads)


def group_query_attention(case: OpCase, threads: int) -> Call:
    """com.microsoft GroupQueryAttention over packed QKV, local_window_size for the window, no past."""
    heads, dim, n = case.heads, case.dim, case.length
    past = (1, heads, 0, dim)
    node = helper.make_node(
        "GroupQueryAttention",
        ["Q", "", "", "past_key", "past_value", "last", "total"],
        ["Y", "present_key", "present_value"],
        domain="com.microsoft",
        num_heads=heads,
        kv_num_heads=heads,
        scale=case.scale,
        local_window_size=case.window or -1,
    )
    shapes = {"Q": case.qkv.shape, "past_key": past, "past_value": past}
    outputs = {
        "Y": (1, n, heads * dim),
        "present_key": (1, heads, n, dim),
        "present_value": (1, heads, n, dim),
    }
    integers = [
        onnx.numpy_helper.from_array(np.array([n - 1], dtype=np.int32), "last"),
        onnx.numpy_helper.from_array(np.array(n, dtype=np.int32), "total"),
    ]
    empty = np.zeros(past, dtype=np.float32)
    feed = {"Q": case.qkv, "past_key": empty, "past_value": empty}
    return _onnxruntime(_model([node], shapes, outputs, initializers=integers), feed, threads)


def torch_sdpa(case: OpCase, threads: int) -> Call:
    q, k, v = (torch.from_numpy(x) for x in case.by_head)
    mask = torch.from_numpy(case.rule.array(case.length, case.length)) if case.window else None
    attention = torch.nn.functional.scaled_dot_product_attention

    def call() -> npt.NDArray[Any]:
        with torch.no_grad():
            return attention(q, k, v, mask, is_causal=mask is None, scale=case.scale).numpy()

    return call


def flex_attention(case: OpCase, threads: int) -> Call:
    """torch flex_attention compiled by inductor, with the block mask of the rule."""
    from torch.nn.attention import flex_attention as flex

    q, k, v = (torch.from_numpy(x) for x in case.by_head)
    rule = case.rule

    def allows(_batch: Any, _head: Any, row: Any, key: Any) -> Any:
        inside = key <= row
        return inside & (key > row - rule.window) if rule.window else inside

    torch._dynamo.reset()
    with quiet(), torch.no_grad():
        blocks = flex.create_block_mask(allows, None, None, case.length, case.length, device="cpu")
        compiled = torch.compile(flex.flex_attention, dynamic=False)
        compiled(q, k, v, block_mask=blocks, scale=case.scale)

    def call() -> npt.NDArray[Any]:
        with torch.no_grad():
            return compiled(q, k, v, block_mask=blocks, scale=case.scale).numpy()

    return call


def torch_op(case: OpCase, threads: int) -> Call:
    """This project's own torch operator, eager."""
    x, op = torch.from_numpy(case.qkv), case.op.torch_op
    assert op is not None  # attention, which models call

    def call() -> npt.NDArray[Any]:
        with torch.no_grad():
            return op(x, None, None, *_torch_arguments(case)).numpy()

    return call


def _torch_arguments(case: OpCase) -> list[Any]:
    values = list(case.attributes.values())
    return values if case.block else [None, *values]


@dataclass(frozen=True)
class Contender:
    """needs: a module or program it cannot do without; dense: it holds a length x length table."""

    prepare: Callable[[OpCase, int], Call]
    families: tuple[str, ...]
    dense: bool = False
    needs: str | None = None


SOFTMAX = ("window", "causal")
OURS = "temport native"
CONTENDERS: dict[str, Contender] = {
    OURS: Contender(native, (*SOFTMAX, "block_linear")),
    "OpenVINO, banded graph": Contender(body_in_openvino("banded"), ("window",), needs="openvino"),
    "OpenVINO, blocked graph": Contender(body_in_openvino("blocked"), ("block_linear",), needs="openvino"),
    "OpenVINO, dense graph": Contender(
        body_in_openvino("dense"), (*SOFTMAX, "block_linear"), dense=True, needs="openvino"
    ),
    "ONNX Runtime, banded graph": Contender(body_in_onnxruntime("banded"), ("window",)),
    "ONNX Runtime, blocked graph": Contender(body_in_onnxruntime("blocked"), ("block_linear",)),
    "ONNX Runtime, dense graph": Contender(
        body_in_onnxruntime("dense"), (*SOFTMAX, "block_linear"), dense=True
    ),
    "ONNX Runtime Attention-23": Contender(onnx_attention, SOFTMAX, dense=True),
    "ONNX Runtime GroupQueryAttention": Contender(group_query_attention, SOFTMAX, dense=True),
    "torch SDPA": Contender(torch_sdpa, SOFTMAX),
    "torch flex_attention, compiled": Contender(flex_attention, SOFTMAX, needs="g++"),
    "temport torch op": Contender(torch_op, (*SOFTMAX, "block_linear")),
}
"""Name in the table -> contender. Ours comes first."""


def absent(name: str, case: OpCase) -> str | None:
    """Why a contender cannot take this case here, or None."""
    contender = CONTENDERS[name]
    if case.family not in contender.families:
        return "does not compute this"
    if name == OURS and library_path() is None:
        return "the native op library is not built"
    if "banded" in name and case.length <= max(case.window, 16):
        return "no band at one block of rows"
    if contender.needs == "g++" and not shutil.which("g++"):
        return "it compiles with g++, which is not installed"
    if contender.needs == "openvino" and importlib.util.find_spec("openvino") is None:
        return "openvino is not installed"
    return None


def as_rows(case: OpCase, output: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Any contender's output as `[1, length, heads*dim]`."""
    if output.ndim == 4:
        output = output.transpose(0, 2, 1, 3)
    return output.reshape(1, case.length, case.heads * case.dim)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, ...]],
    outputs: Mapping[str, tuple[int, ...]],
    initializers: list[onnx.TensorProto] | None = None,
) -> onnx.ModelProto:
    def values(shapes: Mapping[str, tuple[int, ...]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in shapes.items()]

    graph = helper.make_graph(nodes, "op", values(inputs), values(outputs), initializers or [])
    domains = (("", OPSET), (DOMAIN, 1), ("com.microsoft", 1))
    opsets = [helper.make_opsetid(*domain) for domain in domains]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _onnxruntime(
    model: onnx.ModelProto, feed: Mapping[str, npt.NDArray[Any]], threads: int, registered: bool = False
) -> Call:
    settings = session_options(threads, library_path() if registered else None)
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=providers)
    return onnxruntime_call(session, feed)
