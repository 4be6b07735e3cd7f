"""Which nodes had kernels is said where a file is newer than the library, or the library too old to say it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_bundles import rehash, write_bundle
from toolchain import call, run

import temport
from temport.custom_ops.library import library_description, library_path
from temport.exporter.bundle.directory import open_bundle
from temport.exporter.errors import UserError
from temport.exporter.graph.graph_alone import graph_alone
from temport.exporter.parity.run import run_runtime
from temport.exporter.parity.stream import Streamed
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.native_kernels import CustomNode, bodies_run, custom_nodes
from temport.exporter.runtimes.subject import Subject

Bundles = Callable[[str], Path]
OLD_LIBRARY = """
void* RegisterCustomOps(void* options, const void* base) { return 0; }
const char* temport_ops_description() { return "0.0.9, avx2"; }
int temport_ops_write_in_place() { return 1; }
"""
"""It has no kernel at all, and nothing to say so with."""


def described() -> str:
    library = library_path()
    assert library is not None
    return f"native kernels {library_description(library)}"


def changed(
    bundle: Path, folder: Path, change: Callable[[onnx.NodeProto | onnx.FunctionProto], None]
) -> Path:
    """A copy whose nodes and function bodies went through `change`, which names a domain that it invents."""
    copy = Path(shutil.copytree(bundle, folder / "changed"))
    model = onnx.load(copy / "model.onnx")
    for part in (*model.functions, *model.graph.node):
        change(part)
    known = {opset.domain for opset in model.opset_import}
    invented = {part.domain for part in model.functions} - known
    model.opset_import.extend(onnx.helper.make_opsetid(domain, 1) for domain in invented)
    onnx.save(model, copy / "model.onnx")
    rehash(copy)
    return copy


def rename_op(part: onnx.NodeProto | onnx.FunctionProto) -> None:
    """As if a later version had an op of that name."""
    if isinstance(part, onnx.FunctionProto) and part.name == "MovingAverage":
        part.name = "MovingMedian"
    if isinstance(part, onnx.NodeProto) and part.op_type == "MovingAverage":
        part.op_type = "MovingMedian"


def move(op: str, domain: str) -> Callable[[onnx.NodeProto | onnx.FunctionProto], None]:
    """As if the file had so many bodies of the op: those of domain `temport` go to another one."""

    def change(part: onnx.NodeProto | onnx.FunctionProto) -> None:
        name = part.name if isinstance(part, onnx.FunctionProto) else part.op_type
        if name == op and part.domain == "temport":
            part.domain = domain

    return change


def paths(runner: Path, bundle: Path) -> set[str]:
    """What every door says of the bundle, which has to be right as well."""
    opened = open_bundle(bundle)
    truths = read_vectors(bundle / "vectors.npz")
    subject = Subject(opened.declaration, opened.model_path)
    streaming = opened.declaration.streaming
    native = (
        Streamed(runtime_named("onnxruntime_native")) if streaming else runtime_named("onnxruntime_native")
    )
    row = run_runtime(subject, native, truths)
    assert row.verdict == "pass", row.reason
    session = temport.load(bundle)
    case = truths[0]
    for name, output in session(case.case.inputs).items() if not streaming else ():
        allowed = case.bounds[name].allowed
        assert allowed is None or np.abs(output - case.outputs[name]).max() <= allowed
    done = run(runner, bundle, "--replay", "--ops", library_path() or "none")
    assert done.returncode == 0, done.stdout + done.stderr
    printed = json.loads(done.stdout)
    assert printed["path"] == printed["runtimes"][0]["path"]
    return {row.path, session.kernels, printed["path"]}


@pytest.mark.parametrize("arch", ["mega", "sliding_window", "lightning", "hybrid", "dms"])
def test_every_node_of_our_own_files_has_a_kernel(runner: Path, exported: Bundles, arch: str) -> None:
    assert paths(runner, exported(arch)) == {described()}


@pytest.mark.parametrize("arch", ["mega", "hybrid"])
def test_every_node_of_a_step_model_has_a_kernel(runner: Path, stepped: Bundles, arch: str) -> None:
    assert paths(runner, stepped(arch)) == {described()}


def test_an_op_that_the_library_has_not(runner: Path, exported: Bundles, tmp_path: Path) -> None:
    bundle = changed(exported("mega"), tmp_path, rename_op)
    assert paths(runner, bundle) == {f"{described()}; MovingMedian as its body"}


def test_a_domain_that_the_library_has_not(runner: Path, exported: Bundles, tmp_path: Path) -> None:
    """The last domain that a file of an earlier version could have."""
    nodes = [
        n for n in onnx.load(exported("mega") / "model.onnx").graph.node if n.op_type == "ResidualLayerNorm"
    ]
    first = sum(node.domain == "temport" for node in nodes)
    bundle = changed(exported("mega"), tmp_path, move("ResidualLayerNorm", "temport.16"))
    share = "" if first == len(nodes) else f" in {first} of {len(nodes)} nodes"
    assert paths(runner, bundle) == {f"{described()}; ResidualLayerNorm as its body{share}"}


def test_a_cached_op_that_runs_as_its_body_gets_two_buffers(
    runner: Path, stepped: Bundles, tmp_path: Path
) -> None:
    """Its signature says that a kernel may write its cache in place, and a body that did would read its own writing."""
    bundle = changed(stepped("mega"), tmp_path, move("CachedAttention", "temport.16"))
    assert paths(runner, bundle) == {f"{described()}; CachedAttention as its body"}


def test_an_element_type_that_the_library_has_not() -> None:
    library, half = library_path(), onnx.TensorProto.FLOAT16
    assert library is not None
    dense, attention = (CustomNode(op, 1, half) for op in ("FusedDense", "OnlineSoftmaxAttention"))
    assert bodies_run([dense, attention, replace(dense, element_type=0)], library) == (
        "FusedDense as its body in 1 of 2 nodes"
    )


def test_a_library_that_does_not_say_it(
    runner: Path, stepped: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old.c").write_text(OLD_LIBRARY)
    call("gcc", "-shared", "-fPIC", tmp_path / "old.c", "-o", tmp_path / "old.so")
    monkeypatch.setenv("TEMPORT_OPS_LIBRARY", str(tmp_path / "old.so"))
    unknown = "native kernels 0.0.9, avx2; the library does not say for which ops"
    assert paths(runner, stepped("mega")) == {unknown}


def test_without_a_library_or_without_custom_ops(
    exported: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard = write_bundle(tmp_path / "standard", "mega", ops="standard")
    assert temport.load(standard).kernels == "standard operators"
    monkeypatch.setattr(temport.session, "library_path", lambda: None)
    assert temport.load(exported("mega")).kernels == "function body"


def test_nodes_of_branches_count_with_the_types_around_them(tmp_path: Path) -> None:
    helper = onnx.helper
    value = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    inner = helper.make_graph(
        [helper.make_node("FusedLSTM", ["x"], ["y"], domain="temport.x")], "inner", [], [value]
    )
    outer = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)],
        "outer",
        [helper.make_tensor_value_info("x", onnx.TensorProto.DOUBLE, None)],
        [value],
    )
    onnx.save(helper.make_model(outer), tmp_path / "model.onnx")
    node, same = custom_nodes(tmp_path / "model.onnx")
    assert node == same == CustomNode("FusedLSTM", sys.maxsize, onnx.TensorProto.DOUBLE)


def test_asking_does_not_import_what_only_an_export_needs(exported: Bundles) -> None:
    program = (
        "import sys, temport; print(temport.load(sys.argv[1]).kernels, end='');"
        "sys.exit(any(name in sys.modules for name in ('torch', 'onnxscript')))"
    )
    assert call(sys.executable, "-c", program, exported("mega")) == described()


def test_weights_are_stepped_over(exported: Bundles) -> None:
    whole = onnx.load(exported("mega") / "model.onnx").graph
    assert len(whole.initializer) > 10
    del whole.initializer[:]
    assert graph_alone(exported("mega") / "model.onnx") == whole


@pytest.mark.parametrize(
    "content", [b"", b"\x3a\x05abc", b"\x3b\x01a", b"\x08" + b"\xff" * 11, b"\x3a\x02\x0a\x7f"]
)
def test_what_is_no_model_gets_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'model.onnx'} is not an ONNX model")):
        graph_alone(tmp_path / "model.onnx")
