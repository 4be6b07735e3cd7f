"""From `temport` nodes to plugin nodes whose kernels travel in the engine: the lowered graph is run node by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto

from temport.custom_ops.block_linear_attention.reference import reference as block_linear_reference
from temport.custom_ops.cuda import aot_kernels
from temport.custom_ops.online_softmax_attention.reference import reference
from temport.exporter.compilers import worker
from temport.exporter.compilers.compile import Lowered, lower
from temport.exporter.compilers.contract import CompileError, CompileOptions
from temport.exporter.compilers.plugin.lower_to_aot_plugin import lower_to_aot_plugin
from temport.exporter.compilers.targets import backend
from temport.exporter.compilers.tensorrt import BACKEND
from temport.exporter.errors import UserError
from tests.tensorrt.aot_harness import run_plugin, text_of
from tests.tensorrt.models import AttentionCase, attention_model, declaration
from tests.tensorrt.tensorrt_stand_in import tensorrt
from tests.tensorrt.test_aot_plugin import needs_package
from tests.tensorrt.test_cuda_kernels import DTYPES, bound
from tests.tensorrt.test_lower_block_linear import block_model, spec


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, aot_kernels.AotKernel]:
    """Kernels are not compiled to PTX here, which `test_aot_plugin` does; the text leads back to the kernel."""
    kernels: dict[str, aot_kernels.AotKernel] = {}

    def ptx(kernel: aot_kernels.AotKernel) -> str:
        text = text_of(kernel.source, kernel.macros)
        kernels[f"{kernel.entry} {text}"] = kernel
        return text

    monkeypatch.setattr(aot_kernels.AotKernel, "ptx", ptx)
    return kernels


def run_lowered(
    model: ir.Model,
    lowered: Lowered,
    known: dict[str, aot_kernels.AotKernel],
    feeds: dict[str, np.ndarray],
) -> np.ndarray:
    """Every node as TensorRT would make a plugin of it, from the node's own attributes."""
    assert lowered.aot_plugin is not None
    values = dict(feeds)
    with tensorrt() as trt:
        worker._register(lowered.aot_plugin)
        for node in model.graph:
            attributes = {n: a.as_int() for n, a in node.attributes.items() if not n.startswith("plugin_")}
            inputs = [values[v.name or ""] for v in node.inputs if v is not None]
            given = lowered.aot_plugin["kernels"][attributes["variant"]]
            kernel = known[f"{given['entry']} {given['ptx']}"]
            outputs = run_plugin(trt, node.op_type, kernel, attributes, inputs)
            values |= {v.name or "": y for v, y in zip(node.outputs, outputs, strict=True)}
    return values[model.graph.outputs[0].name or ""]


@needs_package
@pytest.mark.parametrize(
    "case",
    [
        AttentionCase(window=7, element_type="float16"),
        AttentionCase(query_length=9, key_length=33, key_mask=True, causal=True),
        AttentionCase(packed=True, heads=4, kv_heads=2, window=9, dynamic=True, element_type="bfloat16"),
    ],
    ids=str,
)
def test_attention(case: AttentionCase, known: dict[str, Any]) -> None:
    model = ir.from_proto(attention_model(case))
    lowered = lower(model, declaration(case), BACKEND, "aot_plugin")
    assert [(entry.node, entry.form) for entry in lowered.attention] == [("attention", "plugin")]
    assert lowered.masks == [] and not model.functions
    kind = DTYPES[case.element_type]
    feeds = {n: x if x.dtype == bool else x.astype(kind) for n, x in case.inputs().items()}
    y = run_lowered(model, lowered, known, feeds)
    truth = reference([feeds.get(n) for n in ("q", "k", "v", "key_mask")], case.attributes)
    numbers = [x for x in feeds.values() if x.dtype != bool]
    assert np.abs(y.astype(np.float64) - truth).max() <= bound(case.element_type, truth, numbers)


@needs_package
@pytest.mark.parametrize(("length", "block", "packed"), [(40, 16, False), (20, 64, True)])
def test_block_linear(length: int, block: int, packed: bool, known: dict[str, Any]) -> None:
    proto = block_model(length, block, packed, TensorProto.FLOAT16)
    model = ir.from_proto(proto)
    lowered = lower(model, spec(proto), BACKEND, "aot_plugin")
    assert [node.op_type.partition("__")[0] for node in model.graph] == [
        "block_states", "earlier_blocks", "linear_part", "attention",
    ]  # fmt: skip
    random = np.random.default_rng(0)
    feeds = {
        t.name: (0.5 * random.standard_normal(t.onnx_shape())).astype(np.float16) for t in spec(proto).inputs
    }
    y = run_lowered(model, lowered, known, feeds)
    attributes = {a.name: a.value for a in ir.from_proto(proto).graph[0].attributes.values()}
    truth = block_linear_reference([*feeds.values(), None, None][:3], attributes)
    assert np.abs(y.astype(np.float64) - truth).max() <= bound("float16", truth, list(feeds.values()))


def test_too_many_blocks_are_refused() -> None:
    model = ir.from_proto(block_model(70000, 1, False, TensorProto.FLOAT16))
    with pytest.raises(CompileError, match="has 70000 blocks of 1 rows; the plugin takes 65535"):
        lower_to_aot_plugin(model, None, 1)


def test_too_large_a_batch_is_refused() -> None:
    case = AttentionCase(dynamic=True)
    with pytest.raises(CompileError, match="has 70000 sequences in the batch; the plugin takes 65535"):
        lower_to_aot_plugin(ir.from_proto(attention_model(case)), None, 70000)
    proto = block_model(70, 1, False, TensorProto.FLOAT16)
    for value in [*proto.graph.input, *proto.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(CompileError, match="has 80000 heads in the batch; the plugin takes 65535"):
        lower_to_aot_plugin(ir.from_proto(proto), None, 40000)


def test_two_nodes_of_one_kind_share_a_kernel(known: dict[str, Any]) -> None:
    case = AttentionCase(window=7)
    model = ir.from_proto(attention_model(case))
    first = model.graph[0]
    second = ir.Node("temport", first.op_type, first.inputs, first.attributes.values(), name="second")
    second.outputs[0].name, second.outputs[0].shape = "second_y", first.outputs[0].shape
    model.graph.append(second)
    model.graph.outputs.append(second.outputs[0])
    lowered = lower(model, declaration(case), BACKEND, "aot_plugin")
    assert lowered.aot_plugin is not None
    assert (len(lowered.attention), len(lowered.aot_plugin["kernels"])) == (2, 1)


def test_missing_nvcc_refuses_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aot_kernels, "nvcc", lambda: None)
    aot_kernels._ptx.cache_clear()
    case = AttentionCase()
    with pytest.raises(CompileError, match="kernels of the engine are not compiled: nvcc was not found"):
        lower(ir.from_proto(attention_model(case)), declaration(case), BACKEND, "aot_plugin")


def test_only_enterprise_takes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tensorrt-rtx has no --aot-plugin; it takes --build-timeout, --comp"):
        CompileOptions(aot_plugin=True).check(backend("tensorrt-rtx"))
    CompileOptions(aot_plugin=True).check(BACKEND)
    library = tmp_path / "lib.so"
    library.touch()
    with pytest.raises(UserError, match="not both"):
        CompileOptions(plugin=library, aot_plugin=True).check(BACKEND)
    with pytest.raises(UserError, match=r"needs compute capability 8\.0 or newer"):
        CompileOptions(("75", "86"), plugin=library).check(backend("tensorrt-rtx"))
