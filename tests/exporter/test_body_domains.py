"""Bodies in domains of their own: what a file says, and that reading it undoes it."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator

from temport.custom_ops.library import library_kernels, library_path
from temport.custom_ops.table import OPS
from temport.exporter.build import save
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import Declaration, TensorSpec
from temport.exporter.graph import body_domains
from temport.exporter.parity.cases import default_cases
from temport.exporter.parity.run import run_parity
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.native_kernels import bodies_run, custom_nodes
from temport.exporter.runtimes.subject import Subject
from temport.graphs.attention_layers import sliding_window_attention
from tests.traces import build

SMALL = ["embed_dim=8", "hidden_size=16", "ema_dim=4", "num_layers=1"]


def parts(model: onnx.ModelProto) -> list[onnx.NodeProto | onnx.FunctionProto]:
    return [part for part in (*model.functions, *model.graph.node) if part.domain.startswith("temport")]


@pytest.mark.parametrize("external_data", [False, True])
def test_a_file_has_no_overloads_and_the_oldest_format(tmp_path: Path, external_data: bool) -> None:
    declaration, module, _ = declare("mega", SMALL, seq="12")
    save(build(module, declaration), tmp_path / "model.onnx", external_data)
    written = onnx.load(tmp_path / "model.onnx")
    assert not any(part.overload for part in parts(written))
    assert len({(f.domain, f.name) for f in written.functions}) == len(written.functions) > 3
    assert {part.domain for part in parts(written)} <= {opset.domain for opset in written.opset_import}
    assert written.ir_version == 9

    read = body_domains.read_model(tmp_path / "model.onnx")
    assert {part.domain for part in parts(read)} == {"temport"}
    assert len({(f.name, f.overload) for f in read.functions}) == len(written.functions)
    body_domains.spread(read)
    assert read == written


def test_the_evaluator_of_onnx_reads_the_file_itself(tmp_path: Path) -> None:
    declaration, module, _ = declare("mega", SMALL, seq="12")
    save(build(module, declaration), tmp_path / "model.onnx", external_data=False)
    x = np.random.default_rng(0).standard_normal((1, 12, 8), dtype=np.float32)
    (y,) = ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, {"state_sequence": x})
    with torch.no_grad():
        np.testing.assert_allclose(y, module(torch.from_numpy(x)), atol=1e-5)


def several(bodies: int) -> onnx.ModelProto:
    """A model with a branch, in which nodes of one op have so many bodies."""
    numbers = [""] + [str(n) for n in range(2, bodies + 1)]
    names = [f"y{n}" for n in numbers]
    nodes = [helper.make_node("Op", ["x"], [y], domain="temport") for y in names]
    for node, number in zip(nodes, numbers, strict=True):
        node.overload = number
    inner = [helper.make_tensor_value_info(names[-1], 1, [1])]
    branch = helper.make_graph(nodes, "branch", [], inner)
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)],
        "g",
        [helper.make_tensor_value_info("c", 9, []), helper.make_tensor_value_info("x", 1, [1])],
        [helper.make_tensor_value_info("y", 1, [1])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    bodies_ = [
        helper.make_function(
            "temport",
            "Op",
            ["X"],
            ["Y"],
            [helper.make_node("Relu", ["X"], ["Y"])],
            opsets[:1],
            overload=number,
        )
        for number in numbers
    ]
    return helper.make_model(graph, opset_imports=opsets, functions=bodies_, ir_version=10)


def test_nodes_inside_branches_follow_their_bodies() -> None:
    model = several(3)
    before = copy.deepcopy(model)
    body_domains.spread(model)
    onnx.checker.check_model(model, full_check=True)
    branch = model.graph.node[0].attribute[0].g
    assert [node.domain for node in branch.node] == ["temport", "temport.2", "temport.3"]
    body_domains.gather(model)
    assert model == before


def test_the_table_is_the_library_s() -> None:
    library = library_path()
    assert library is not None
    kernels = library_kernels(library)
    assert kernels is not None and kernels.keys() == OPS.keys()
    assert {op: domains for op, (domains, _) in kernels.items()} == body_domains.KERNEL_DOMAINS


def bodies(model: onnx.ModelProto, op: str) -> int:
    return sum(function.name == op for function in model.functions)


@pytest.mark.slow
def test_bodies_that_differ_in_lengths_become_one_where_they_are_too_many(tmp_path: Path) -> None:
    """Every layer of a pruned model has lengths of its own, and each of them a kernel all the same."""
    op, layers = "OnlineSoftmaxAttention", body_domains.KERNEL_DOMAINS["OnlineSoftmaxAttention"] + 1
    settings = ["embed_dim=8", "window_size=3", "num_heads=2", "head_dim=8", "ffn_dim=8"]
    found = {}
    for count in (layers - 1, layers):
        declaration, module, _ = declare("sliding_window", [*settings, f"num_layers={count}"], seq="41")
        save(build(module, declaration), tmp_path / "model.onnx", external_data=False)
        model = onnx.load(tmp_path / "model.onnx")
        assert len([node for node in model.graph.node if node.op_type == op]) == count
        found[count] = bodies(model, op)
        library = library_path()
        assert library is not None and bodies_run(custom_nodes(tmp_path / "model.onnx"), library) == ""
    assert found[layers - 1] > 4 and found[layers] <= 2

    subject = Subject(declaration, tmp_path / "model.onnx", module)
    runtimes = ("onnx_reference", "op_reference", "onnxruntime_cpu", "onnxruntime_native", "openvino")
    rows = run_parity(
        subject, default_cases(declaration), [runtime_named(name) for name in runtimes]
    ).runtimes
    assert {row.name: row.verdict for row in rows} == dict.fromkeys(runtimes, "pass")


class Windows(torch.nn.Module):
    """Attention with another window in every layer: no two of them can share a body, whatever their lengths."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(
            sliding_window_attention(window_size=window, num_heads=2, head_dim=4)
            for window in range(2, layers + 2)
        )

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            frames = torch.tanh(layer(frames))
        return frames


def test_a_model_with_more_bodies_than_kernels_says_which_nodes_have_none(tmp_path: Path) -> None:
    layers = body_domains.KERNEL_DOMAINS["OnlineSoftmaxAttention"] + 1
    spec = TensorSpec("frames", "float32", (1, 9, 8))
    declaration = Declaration("module", {}, (spec,), (replace(spec, name="output"),))
    module = Windows(layers).eval()
    save(build(module, declaration), tmp_path / "model.onnx", external_data=False)
    subject = Subject(declaration, tmp_path / "model.onnx", module)
    (row,) = run_parity(subject, default_cases(declaration), [runtime_named("onnxruntime_native")]).runtimes
    assert row.verdict == "pass"
    assert row.path.endswith(f"; OnlineSoftmaxAttention as its body in 1 of {layers} nodes")
