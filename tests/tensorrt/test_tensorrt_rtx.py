"""Engines built on this machine, without a GPU: what became of each attention, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from temport.exporter.compilers import worker
from temport.exporter.compilers.compile import compile_model, lower
from temport.exporter.compilers.contract import CompileError, CompileOptions, EngineReport
from temport.exporter.compilers.targets import backend
from temport.exporter.compilers.tensorrt_rtx import BACKEND, engine_targets
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.errors import UserError
from tests.tensorrt.models import AttentionCase, attention_model, declaration


def compile_case(case: AttentionCase, tmp_path: Path, **options: object) -> EngineReport:
    path = tmp_path / "model.onnx"
    onnx.save(attention_model(case), path)
    return compile_model("tensorrt-rtx", path, declaration(case), tmp_path, CompileOptions(**options))  # type: ignore[arg-type]


HALF = ["float16", "bfloat16"]


BOTH = (AttentionCase(), AttentionCase(window=7, dynamic=True), AttentionCase(value_dim=10, causal=True))
"""Cases that every run asks of both half types, which one kernel of TensorRT serves; the others of float16 alone."""


def half_types(cases: list[AttentionCase]) -> list[Any]:
    return [
        pytest.param(
            case,
            kind,
            marks=() if kind == "float16" or case in BOTH else pytest.mark.thorough,
            id=f"{case}-{kind}",
        )
        for case in cases
        for kind in HALF
    ]


@pytest.mark.parametrize(
    ("case", "element_type"),
    half_types(
        [
            AttentionCase(),
            AttentionCase(causal=True),
            AttentionCase(window=7),
            AttentionCase(window=7, dynamic=True),
            AttentionCase(causal=True, dynamic=True),
            AttentionCase(query_length=1, window=60),
            AttentionCase(query_length=9, key_length=33, window=4),
            AttentionCase(key_mask=True, query_length=9, key_length=33),
            AttentionCase(heads=4, kv_heads=2, packed=True, window=5),
            AttentionCase(head_dim=16, causal=True),
            AttentionCase(head_dim=256, heads=1, kv_heads=1, causal=True),
            AttentionCase(batch=1, head_dim=256, heads=1, kv_heads=1, causal=True),
            AttentionCase(value_dim=10, causal=True),
            AttentionCase(value_dim=80, window=7, dynamic=True, heads=4),
            AttentionCase(value_dim=10, key_mask=True, dynamic=True),
            AttentionCase(value_dim=80, batch=1, heads=1, kv_heads=1, window=7),
        ]
    ),
)
def test_half_types_become_one_kernel(case: AttentionCase, element_type: str, tmp_path: Path) -> None:
    report = compile_case(replace(case, element_type=element_type), tmp_path)
    assert [entry["outcome"] for entry in report.attention] == ["fused"]
    assert not any("Iota" in layer["name"] for layer in report.layers)


@pytest.mark.parametrize(
    "case",
    [
        AttentionCase(),
        AttentionCase(causal=True),
        AttentionCase(window=7, dynamic=True),
        AttentionCase(causal=True, dynamic=True),
        AttentionCase(key_mask=True, causal=True, query_length=9, key_length=33),
        AttentionCase(head_dim=8, window=5, element_type="float16"),
        AttentionCase(value_dim=10, causal=True),
        AttentionCase(value_dim=80, window=7, dynamic=True, heads=4),
        AttentionCase(value_dim=10, key_mask=True, dynamic=True),
        AttentionCase(value_dim=264, causal=True, heads=6, dynamic=True, element_type="bfloat16"),
        AttentionCase(value_dim=10, batch=1, heads=1, kv_heads=1, query_length=1, element_type="float16"),
        AttentionCase(batch=1, heads=1, kv_heads=1, query_length=1, element_type="float16"),
        AttentionCase(batch=1, heads=1, kv_heads=1, query_length=1, window=60),
        AttentionCase(batch=1, heads=1, kv_heads=1, query_length=3, element_type="bfloat16", causal=True),
    ],
    ids=str,
)
def test_what_no_kernel_takes_is_decomposed_with_its_mask_baked(case: AttentionCase, tmp_path: Path) -> None:
    report = compile_case(case, tmp_path)
    assert [(entry["outcome"], bool(entry["why"])) for entry in report.attention] == [("decomposed", True)]
    assert not any("Iota" in layer["name"] for layer in report.layers)


def test_engine_json(tmp_path: Path) -> None:
    case = AttentionCase(window=7, element_type="float16", dynamic=True)
    phases = []
    onnx.save(attention_model(case), tmp_path / "model.onnx")
    report = compile_model(
        "tensorrt-rtx", tmp_path / "model.onnx", declaration(case), tmp_path,
        CompileOptions(compute_capabilities=("86", "89")), lambda *event: phases.append(event),
    )  # fmt: skip
    written = json.loads((tmp_path / "engine.json").read_text())
    assert written == {"format": 1, "engines": [json.loads(json.dumps(report.to_json()))]}
    engine = tmp_path / report.file
    assert engine.stat().st_size == report.bytes
    assert report.compute_capabilities == engine_targets(engine) == ("86", "89")
    assert report.profiles["q"] == {"min": [1, 1, 64], "opt": [2, 60, 64], "max": [4, 120, 64]}
    assert report.masks[0]["shape"] == [120, 120]
    assert report.masks[0]["bytes"] == 120 * 120 * 2
    assert report.precision["Half"] >= 1
    assert phases[0][0] == "parse" and len(phases) > 2


def test_static_model_needs_no_profile(tmp_path: Path) -> None:
    assert compile_case(AttentionCase(), tmp_path).profiles == {}


def test_rebuilt_target_replaces_its_entry(tmp_path: Path) -> None:
    compile_case(AttentionCase(), tmp_path)
    compile_case(AttentionCase(causal=True), tmp_path)
    assert len(json.loads((tmp_path / "engine.json").read_text())["engines"]) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"compute_capabilities": ("90",)}, "cannot build for compute capability 90; it can for 75, 80"),
        (
            {"timing_cache": Path("cache")},
            "tensorrt-rtx has no --timing-cache; it takes --build-timeout, --compute-capability, ",
        ),
        ({"optimization_level": 9}, "outside 0 to 5"),
        ({"workspace_mib": 0}, "give 1 or more"),
        ({"plugin": Path("missing.so")}, "does not exist"),
    ],
    ids=["cc90", "timing-cache", "level", "workspace", "plugin"],
)
def test_wrong_options(options: dict[str, object], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        compile_case(AttentionCase(), tmp_path, **options)


def test_a_library_without_plugins_is_refused(tmp_path: Path) -> None:
    library = tmp_path / "lib.so"
    library.touch()
    with pytest.raises(
        CompileError, match=r"at the plugin step: .*lib\.so is no plugin library; .*file too short"
    ):
        compile_case(AttentionCase(), tmp_path, plugin=library)


def test_timing_cache_is_a_file_of_this_tensorrt(tmp_path: Path) -> None:
    """Enterprise TensorRT has timing caches, so its bindings are played here."""
    for wrong in (tmp_path, tmp_path / "missing" / "cache"):
        with pytest.raises(UserError, match="cannot be a file; name one in a directory that exists"):
            CompileOptions(timing_cache=wrong).check(backend("tensorrt"))

    class Config:
        def create_timing_cache(self, content: bytes) -> bytes:
            return content

        def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
            return cache in (b"", b"own") and not ignore_mismatch

    path = tmp_path / "cache"
    assert worker._timing_cache(Config(), str(path)) == b""
    path.write_bytes(b"own")
    assert worker._timing_cache(Config(), str(path)) == b"own"
    path.write_bytes(b"of another GPU")
    assert worker._timing_cache(Config(), str(path)) is None


def test_only_attentions_without_a_kernel_may_decompose(tmp_path: Path) -> None:
    """Also where the name of one begins the name of another."""
    proto = attention_model(AttentionCase())
    second = onnx.NodeProto()
    second.CopyFrom(proto.graph.node[0])
    second.name, second.output[0] = "attention_1", "y2"
    proto.graph.node.append(second)
    proto.graph.output.append(helper.make_tensor_value_info("y2", TensorProto.FLOAT, [2, 60, 64]))
    model = ir.from_proto(proto)
    lower(model, declaration(AttentionCase()), BACKEND)
    onnx.save(ir.to_proto(model), tmp_path / "m.onnx")
    script = f"""
import tensorrt_rtx as trt, sys
sys.path.append({str(Path(worker.__file__).parent)!r})
import worker
log = trt.Logger(trt.Logger.ERROR)
network = trt.Builder(log).create_network(0)
assert trt.OnnxParser(network, log).parse_from_file({str(tmp_path / "m.onnx")!r})
worker._let_decompose(trt, network, {{"attention": True, "attention_1": False}})
for layer in map(network.get_layer, range(network.num_layers)):
    if layer.type == trt.LayerType.ATTENTION_INPUT:
        layer.__class__ = trt.IAttentionInputLayer
        print(layer.name, layer.attention.decomposable)
"""
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["attention_AttentionInput", "True", "attention_1_AttentionInput", "False"]


def test_unknown_target(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the targets are native, tensorrt-rtx, tensorrt"):
        compile_model("tensorrt-rt", tmp_path / "m", declaration(AttentionCase()), tmp_path)


def test_enterprise_is_not_run_without_gpu(tmp_path: Path) -> None:
    if backend("tensorrt").unavailable() is None:
        pytest.skip("a GPU and tensorrt are here")
    with pytest.raises(UserError, match="tensorrt cannot compile here: "):
        compile_model("tensorrt", tmp_path / "m", declaration(AttentionCase()), tmp_path)


def _standard(nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto], path: Path) -> Declaration:
    """A model `q, k, v [2, seq, 64] -> y` of plain operators in float16, with symbolic `seq`."""
    shape = [2, "seq", 64]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, shape) for n in "qkv"]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT16, shape)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), path)
    seq = Axis("seq", 1, 30, 60)
    specs = tuple(TensorSpec(n, "float16", (2, seq, 64)) for n in "qkv")
    return Declaration("module", {}, specs, (TensorSpec("y", "float16", (2, seq, 64)),))


def test_mask_computed_in_the_engine_fails_and_leaves_no_engine(tmp_path: Path) -> None:
    def constant(name: str, array: np.ndarray) -> onnx.TensorProto:
        return numpy_helper.from_array(array, name)

    nodes = [
        helper.make_node("Shape", ["q"], ["t"], start=1, end=2),
        helper.make_node("Squeeze", ["t"], ["n"]),
        helper.make_node("Range", ["zero", "n", "one"], ["r"], name="positions"),
        helper.make_node("Unsqueeze", ["r", "a0"], ["j"]),
        helper.make_node("Unsqueeze", ["r", "a1"], ["i"]),
        helper.make_node("LessOrEqual", ["j", "i"], ["allowed"]),
        helper.make_node("Where", ["allowed", "f0", "f1"], ["m"]),
        helper.make_node("Attention", ["q", "k", "v", "m"], ["y"], q_num_heads=2, kv_num_heads=2),
    ]
    initializers = [
        constant("zero", np.array(0)),
        constant("one", np.array(1)),
        constant("a0", np.array([0])),
        constant("a1", np.array([1])),
        constant("f0", np.float16(0)),
        constant("f1", np.float16(-1e4)),
    ]
    path = tmp_path / "model.onnx"
    spec = _standard(nodes, initializers, path)
    with pytest.raises(CompileError, match=r"makes positions at run time, for .*positions"):
        compile_model("tensorrt-rtx", path, spec, tmp_path)
    assert not (tmp_path / "engine.tensorrt-rtx.plan").exists()


def test_parser_message_reaches_the_user(tmp_path: Path) -> None:
    nodes = [helper.make_node("Attention", ["q", "k", "v"], ["y"], q_num_heads=3, kv_num_heads=3)]
    spec = _standard(nodes, [], tmp_path / "model.onnx")
    with pytest.raises(CompileError, match=r"refused the model at the (parse|build) step"):
        compile_model("tensorrt-rtx", tmp_path / "model.onnx", spec, tmp_path)


def test_crash_of_the_builder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text("import os, sys\nprint('about to abort', file=sys.stderr, flush=True)\nos.abort()\n")
    monkeypatch.setattr("temport.exporter.compilers.isolate._WORKER", worker)
    with pytest.raises(CompileError, match="died of signal SIGABRT in phase 'start'"):
        compile_case(AttentionCase(), tmp_path)
