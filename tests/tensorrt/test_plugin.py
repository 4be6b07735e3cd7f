"""The plugin library in engines: built against the user's TensorRT headers, with kernels on emulated threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto

from temport.custom_ops.cuda import plugin_build
from temport.exporter.compilers.compile import compile_model, lower
from temport.exporter.compilers.contract import CompileError, CompileOptions
from temport.exporter.compilers.tensorrt_rtx import BACKEND
from tests.tensorrt.models import AttentionCase, attention_model, declaration
from tests.tensorrt.test_lower_block_linear import block_model, spec

needs_headers = pytest.mark.skipif(
    plugin_build.unavailable() is not None, reason=str(plugin_build.unavailable())
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plugin_build.build_plugin(tmp_path_factory.mktemp("plugin") / "libplugin.so", emulated=True)


@needs_headers
@pytest.mark.parametrize("element_type", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "case",
    [
        AttentionCase(window=7),
        AttentionCase(packed=True, heads=4, kv_heads=2, causal=True, dynamic=True),
        AttentionCase(key_mask=True, query_length=9, key_length=33),
    ],
    ids=str,
)
def test_attention_becomes_our_kernel(
    case: AttentionCase, element_type: str, library: Path, tmp_path: Path
) -> None:
    case = replace(case, element_type=element_type)
    onnx.save(attention_model(case), tmp_path / "m.onnx")
    options = CompileOptions(plugin=library)
    report = compile_model("tensorrt-rtx", tmp_path / "m.onnx", declaration(case), tmp_path, options)
    assert [entry["outcome"] for entry in report.attention] == ["plugin"]
    assert report.ours == 1 and report.masks == []


@needs_headers
@pytest.mark.parametrize("packed", [False, True], ids=["qkv", "packed"])
def test_block_linear_becomes_our_kernel(packed: bool, library: Path, tmp_path: Path) -> None:
    proto = block_model(16, 4, packed, TensorProto.FLOAT16)
    onnx.save(proto, tmp_path / "m.onnx")
    report = compile_model(
        "tensorrt-rtx", tmp_path / "m.onnx", spec(proto), tmp_path, CompileOptions(plugin=library)
    )
    assert report.ours == 1


def test_a_library_that_is_no_plugin_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "libempty.so"
    empty.write_bytes(b"not a library")
    case = AttentionCase()
    onnx.save(attention_model(case), tmp_path / "m.onnx")
    with pytest.raises(CompileError, match="tensorrt-rtx"):
        compile_model(
            "tensorrt-rtx", tmp_path / "m.onnx", declaration(case), tmp_path, CompileOptions(plugin=empty)
        )


def test_marked_node_has_no_gaps_and_no_body() -> None:
    case = AttentionCase(key_mask=True, packed=True)
    model = ir.from_proto(attention_model(case))
    lowered = lower(model, declaration(case), BACKEND, "plugin")
    (entry,), masks = lowered.attention, lowered.masks
    (node,) = model.graph
    assert [value.name for value in node.inputs if value is not None] == ["q", "key_mask"]
    assert node.attributes["plugin_namespace"].as_string() == "temport"
    assert (entry.form, masks, len(model.functions)) == ("plugin", [], 0)


def test_too_wide_a_head_is_refused() -> None:
    case = AttentionCase(head_dim=264)
    with pytest.raises(CompileError, match="head dim 264; the plugin takes 1 to 256"):
        lower(ir.from_proto(attention_model(case)), declaration(case), BACKEND, "plugin")


def test_missing_headers_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(plugin_build, "tensorrt_include", lambda: None)
    with pytest.raises(RuntimeError, match=r"NvInferRuntime\.h was not found; set TEMPORT_TENSORRT_INCLUDE"):
        plugin_build.build_plugin(tmp_path / "libplugin.so")
