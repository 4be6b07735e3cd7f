"""Bodies in domains of their own: what a file says, and that reading it undoes it."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator

from temport.exporter.build import build, save
from temport.exporter.declare.architectures import declare
from temport.exporter.errors import UserError
from temport.exporter.graph import body_domains

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

    read = body_domains.load(tmp_path / "model.onnx")
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


def test_more_bodies_than_the_library_has_domains_for_are_refused() -> None:
    body_domains.spread(several(body_domains.MOST_BODIES))
    library = Path(__file__).parents[2] / "custom_ops" / "native" / "library.cc"
    assert f"kMostBodies = {body_domains.MOST_BODIES};" in library.read_text()
    with pytest.raises(
        UserError, match=r"needs 17 different bodies of one op, and a file has at most 16; pass --ops"
    ):
        body_domains.spread(several(17))
