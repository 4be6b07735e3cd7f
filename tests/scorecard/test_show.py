"""`temport show`: numbers of each node against other counts of them, and a picture that is not the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from typer.testing import CliRunner

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.cli import app
from temport.exporter.errors import UserError
from temport.exporter.parity.serial import read_json
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.show import measured
from temport.exporter.show.nodes import Node, nodes_of
from temport.exporter.show.overlay import FIELDS, PREFIX
from temport.exporter.show.run import shown
from temport.exporter.show.text import groups, notes


def command(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["show", *map(str, words)])
    return done.exit_code, done.output


def test_work_and_bytes_are_those_of_the_model(window: Path, step: Path) -> None:
    """FLOPs as the export counted them, weights as the file holds them."""
    for path in (window, step):
        nodes, memory = nodes_of(open_bundle(path))
        assert sum(node.flops or 0 for node in nodes) == sum(
            (read_json(path / "report.json").flops["exported"] or {}).values()
        )
        model = onnx.load(path / "model.onnx")
        held = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)
        assert memory.weights == held and memory.tensors
        assert [node.op.rpartition("::")[2] for node in nodes] == [node.op_type for node in model.graph.node]
    declaration = open_bundle(step).declaration
    states = {before for before, _ in declaration.states}
    sizes = [np.zeros(s.at(), s.dtype).nbytes for s in declaration.inputs if s.name in states]
    assert memory.state == sum(sizes)


def test_the_picture_is_the_model_with_words_on_it(window: Path, tmp_path: Path) -> None:
    code, text = command(window, "--time", "--out", tmp_path)
    assert code == 0 and "temport::FusedDense" in text
    original = onnx.load(window / "model.onnx")
    picture = onnx.load(tmp_path / "show.onnx")
    onnx.checker.check_model(picture)
    inputs = read_vectors(window / "vectors.npz")[0].case.inputs
    outputs = [
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)[0]
        for path in (window / "model.onnx", tmp_path / "show.onnx")
    ]
    np.testing.assert_array_equal(*outputs)
    nodes = json.loads((tmp_path / "show.json").read_text())["nodes"]
    for proto, node in zip(picture.graph.node, nodes, strict=True):
        told = {entry.key: entry.value for entry in proto.metadata_props}
        assert told.get("temport.flops") == str(node["flops"]) and "temport.microseconds" in told
        assert node["shape"] in proto.doc_string
        kept = [entry for entry in proto.metadata_props if entry.key.removeprefix(PREFIX) not in FIELDS]
        del proto.metadata_props[:]
        proto.metadata_props.extend(kept)
        proto.ClearField("doc_string")
    for proto in original.graph.node:
        proto.ClearField("doc_string")
    assert picture == original
    html = (tmp_path / "show.html").read_text()
    assert "<script" not in html and all(node["name"] in html for node in nodes)


def test_a_wrong_tensor_stands_out(step: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exposed = measured.run_exposed

    def spoiled(*given: Any) -> Any:
        got = dict(exposed(*given))
        name = list(got)[5]
        return got | {name: got[name] * 1.01}

    right = shown(open_bundle(step), time=False, runtime="onnxruntime_cpu")
    assert max(node.share for node in right.nodes if node.share is not None) < 1
    monkeypatch.setattr(measured, "run_exposed", spoiled)
    wrong = shown(open_bundle(step), time=False, runtime="onnxruntime_cpu")
    (bad,) = (node for node in wrong.nodes if node.share is not None and node.share > 1)
    assert f"most of all {bad.outputs[0]}" in notes(wrong)[-1]


def test_it_writes_nothing_into_the_bundle(window: Path) -> None:
    before = sorted(window.rglob("*"))
    code, text = command(window, "--out", window / "shown")
    assert code == 2 and "is inside the bundle, which stays as it is" in text
    assert sorted(window.rglob("*")) == before


def test_a_runtime_that_shows_no_tensors_is_refused(window: Path) -> None:
    with pytest.raises(
        UserError, match="native_engine does not show tensors inside the graph; choose another"
    ):
        shown(open_bundle(window), time=False, runtime="native_engine")
    assert command(window, "--no-errors")[0] == 0


def test_operators_come_with_the_longest_first() -> None:
    def node(op: str, flops: int, microseconds: float | None) -> Node:
        return Node(op, op, (op,), "1", flops, 0, None, microseconds)

    nodes = [node("a", 5, 1.0), node("b", 1, 3.0), node("a", 5, None), node("c", 0, None)]
    found = groups(nodes)
    assert [group.op for group in found] == ["b", "a", "c"]
    assert [group.total("microseconds") for group in found] == [3.0, 1.0, None]
    assert found[1].total("flops") == 10 and found[1].total("moved") is None
