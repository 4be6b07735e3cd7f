"""Runtimes are found by name, loaded late, say what they cannot take, and say which path ran."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from temport.exporter.declare.declaration import TensorSpec
from temport.exporter.errors import UserError
from temport.exporter.parity.oracle import find_truths
from temport.exporter.parity.result import FAIL, NOT_RUN
from temport.exporter.parity.run import run_runtime
from temport.exporter.runtimes import RUNTIMES, onnxruntime_native, runner, runtime_named
from temport.exporter.runtimes.contract import Capabilities
from temport.exporter.runtimes.onnxruntime_cpu import DISABLED_OPTIMIZERS
from temport.exporter.runtimes.prepare import prepare
from temport.exporter.runtimes.runner import Found, RunnerRuntime

FIXED = Capabilities(
    custom_domain=False,
    functions=True,
    opsets=(7, 19),
    dtypes=frozenset({"float16"}),
    dynamic_axes=False,
    intermediates=False,
)


def test_registry_imports_no_framework():
    code = (
        "import sys, json, temport.exporter.runtimes\n"
        "print(json.dumps([m for m in ('torch', 'onnx', 'onnxruntime', 'openvino') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_registered_runtime_keeps_the_contract(name):
    runtime = runtime_named(name)
    assert runtime.name == name
    assert isinstance(runtime.capabilities, Capabilities)
    assert runtime.unavailable() is None or isinstance(runtime.unavailable(), str)


def test_unknown_runtime_gets_a_suggestion():
    with pytest.raises(UserError, match=r"unknown runtime 'openvin'; did you mean openvino\?"):
        runtime_named("openvin")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"opset": 20}, "it reads opsets 7 to 19 and the model has 20"),
        ({"opset": 19}, "it does not compute in float32"),
    ],
)
def test_capabilities_refuse_in_words(subject, change, reason):
    assert FIXED.refusal(replace(subject.declaration, **change)) == reason


def test_capabilities_refuse_open_axes(subject):
    capable = replace(FIXED, opsets=(7, 25), dtypes=frozenset({"float32"}))
    assert capable.refusal(subject.declaration) == "its shapes are fixed and the model leaves batch open"
    assert replace(capable, dynamic_axes=True).refusal(subject.declaration) is None


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "torch"])
def test_library_that_is_not_installed_is_not_run(subject, truths, monkeypatch, name):
    runtime = runtime_named({"onnxruntime": "onnxruntime_cpu", "torch": "torch_float32"}.get(name, name))
    present = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == name else present(n, *a))
    row = run_runtime(subject, runtime, truths)
    assert (row.verdict, row.results) == (NOT_RUN, ())
    assert f"{name} is not installed" in row.reason


def test_op_library_that_was_not_built_is_not_run(subject, truths, monkeypatch):
    monkeypatch.setattr(onnxruntime_native, "library_path", lambda: None)
    row = run_runtime(subject, runtime_named("onnxruntime_native"), truths)
    assert row.verdict == NOT_RUN
    assert "not built" in row.reason


def test_op_library_named_and_missing_is_not_replaced(subject, truths, monkeypatch, tmp_path):
    monkeypatch.setenv("TEMPORT_OPS_LIBRARY", str(tmp_path / "none.so"))
    row = run_runtime(subject, runtime_named("onnxruntime_native"), truths)
    assert row.verdict == NOT_RUN
    assert "TEMPORT_OPS_LIBRARY" in row.reason


def test_row_says_which_kernels_ran(subject, truths):
    assert re.fullmatch(
        r"native kernels \d+\.\d+\.\d+, (sse42|avx2|avx512|neon)",
        run_runtime(subject, runtime_named("onnxruntime_native"), truths).path,
    )


def test_op_library_that_does_not_load_fails(subject, truths, monkeypatch, tmp_path):
    library = tmp_path / "libtemport_ops.so"
    library.write_bytes(b"not a library")
    monkeypatch.setenv("TEMPORT_OPS_LIBRARY", str(library))
    row = run_runtime(subject, runtime_named("onnxruntime_native"), truths)
    assert row.verdict == FAIL
    assert "does not load" in row.reason


@pytest.mark.parametrize(
    ("program", "verdict", "reason"),
    [
        ("sys.exit('error: no kernel for it')", FAIL, "printed no JSON (no kernel for it)"),
        (
            "print('error: no kernel for it', file=sys.stderr); sys.exit(2)",
            NOT_RUN,
            "stopped: no kernel for it",
        ),
        ("os.abort()", FAIL, "stopped: exit code -6"),
        ("sys.exit(2)", FAIL, "stopped: exit code 2"),
        ("print('Hello')", FAIL, "printed no JSON"),
        ("import time; time.sleep(60)", FAIL, "did not end within 1 seconds"),
    ],
)
def test_a_program_that_refuses_is_not_run_and_one_that_is_lost_fails(
    subject, truths, monkeypatch, tmp_path, program, verdict, reason
):
    file = tmp_path / "program.py"
    file.write_text(f"import os, sys\n{program}\n")
    found = Found((sys.executable, str(file)))
    if "sleep" in program:
        monkeypatch.setattr(runner, "TIMEOUT", 1.0)
    row = run_runtime(
        subject, RunnerRuntime("program", runtime_named("cpp").capabilities, lambda: found), truths[:1]
    )
    assert row.verdict == verdict and reason in row.reason


def test_model_without_custom_ops_is_not_counted_twice(tampered, truths):
    def standard(model: onnx.ModelProto) -> None:
        model.CopyFrom(onnx.inliner.inline_local_functions(model))

    subject = tampered(standard)
    for name in ("op_reference", "onnxruntime_native"):
        row = run_runtime(subject, runtime_named(name), truths)
        assert row.verdict == NOT_RUN
    assert run_runtime(subject, runtime_named("onnxruntime_cpu"), truths).path == "standard operators"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("torch_float32", "torch eager"),
        ("onnx_reference", "inlined body"),
        ("op_reference", "op definitions, float64 inside the ops"),
        ("onnxruntime_cpu", "function body"),
        ("openvino", "inlined body, f32"),
    ],
)
def test_session_says_which_path_ran(subject, truths, name, path):
    runtime = runtime_named(name)
    with runtime.open(subject) as session:
        assert session.path == path
        outputs = session.run(truths[0].case.inputs)
    assert outputs["output"].shape == truths[0].outputs["output"].shape


def test_prepare_inlines_where_functions_are_not_run(subject):
    inlined = prepare(subject.model_path, replace(FIXED, functions=False))
    assert not inlined.functions and not any(node.domain for node in inlined.graph.node)
    assert prepare(subject.model_path, FIXED).functions
    assert prepare(subject.model_path, replace(FIXED, functions=False, custom_domain=True)).functions


def test_ort_session_keeps_its_slow_fusion_off(tmp_path):
    """Our own graphs work on flat rows, which ORT does not fuse; a layer left on three axes it would."""
    import onnxruntime as ort

    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]> g (float[2,3,2] x, float[2,3,2] r) => (float[2,3,2] y)'
        "<float[2] w = {1.0, 2.0}> { s = Add(x, r)  y = LayerNormalization(s, w, w) }"
    )
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    counts = []
    for disabled in ([], DISABLED_OPTIMIZERS):
        ort.InferenceSession(
            model.SerializeToString(), options, ["CPUExecutionProvider"], disabled_optimizers=disabled
        )
        optimized = onnx.load(options.optimized_model_filepath)
        counts.append(sum(node.op_type == "SkipLayerNormalization" for node in optimized.graph.node))
    assert counts[0] > 0 and counts[1] == 0


def test_torch_threads_are_put_back(subject, truths):
    before = torch.get_num_threads()
    with runtime_named("torch_float32").open(subject, threads=before + 1) as session:
        session.run(truths[0].case.inputs)
    assert torch.get_num_threads() == before


def test_half_precision_is_judged_by_its_own_eps(subject, cases):
    spec = subject.declaration.inputs[0]
    declaration = replace(
        subject.declaration, precision="float16", inputs=(TensorSpec(spec.name, "float16", spec.shape),)
    )
    half = replace(cases[0], inputs={spec.name: cases[0].inputs[spec.name].astype(np.float16)})
    (truth,) = find_truths(replace(subject, declaration=declaration), [half])
    (single,) = find_truths(subject, cases[:1])
    ratio = truth.bounds["output"].torch_error / single.bounds["output"].torch_error
    assert 2**10 < ratio < 2**16  # eps differs by 2^13
    assert truth.bounds["output"].judgeable
