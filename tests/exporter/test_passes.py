"""The passes as data: their order, leaving them out, keeping what they leave behind, and who is to blame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from rich.console import Console
from typer.testing import CliRunner

from temport.custom_ops.table import OPS
from temport.exporter import build as building
from temport.exporter import export as exporting
from temport.exporter.build import rewrite, save
from temport.exporter.cli import app
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.export import run_export
from temport.exporter.parity.serial import read_json
from temport.exporter.passes.order import PASSES, check_order, left_out
from temport.exporter.passes.work import Pass, Work
from temport.exporter.request import ExportRequest
from tests.traces import build, shared_by_exports, traced

SMALL = ("embed_dim=6", "window_size=4", "num_heads=2", "head_dim=4", "num_layers=2", "ffn_dim=8")


def step(name: str, *after: str) -> Pass:
    return Pass(name=name, run=lambda work: False, why="", after=after)


@pytest.mark.parametrize(
    ("passes", "told"),
    [
        ([step("a"), step("a")], "two passes are called a"),
        ([step("a", "b"), step("b")], "a has to come after b"),
        ([step("a", "c")], "a comes after c, which is no pass"),
    ],
)
def test_a_wrong_order_is_refused(passes: list[Pass], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_order(passes)


def test_every_pass_says_what_it_is_for() -> None:
    assert all(step.why and not step.why.endswith(".") for step in PASSES)


def test_passes_run_for_their_dialect_and_precision() -> None:
    declaration, module, _ = declare("sliding_window", SMALL, seq="9")

    def ran(**changes: str) -> set[str]:
        return {step.name for step in build(module, replace(declaration, **changes)).passes}

    assert {"fused_dense", "attach_bodies", "moving_average"} <= ran()
    assert "to_standard" not in ran() and "lower_precision" not in ran()
    assert {"to_standard"} == ran(ops="standard") - ran()
    assert {"lower_precision"} == ran(precision="float16") - ran()
    assert "fold_factors" in ran(precision="bfloat16") - ran(precision="float16")


@pytest.mark.parametrize(("op", "known"), [("FusedDense", 5), ("FusedLSTM", 6)])
def test_a_node_has_no_input_that_only_later_files_need(op: str, known: int) -> None:
    """So many inputs had the first version of the library: it refuses a node with more, absent or not."""
    declaration, module, _ = declare("hybrid", seq="9")
    nodes = [node for node in build(module, declaration).model.graph if node.op_type == op]
    names = [parameter.name for parameter in OPS[op].schema.inputs]
    assert nodes and names[known:] == [name for name in names if name.endswith("_scale")]
    assert all(len(node.inputs) <= known for node in nodes)


def test_left_out_passes_do_not_run() -> None:
    declaration, module, _ = declare("sliding_window", SMALL, seq="9")
    whole = build(module, replace(declaration, without=("prune", "fused_dense")))
    assert {step.name for step in whole.passes}.isdisjoint({"prune", "fused_dense"})
    assert "temport::FusedDense" not in whole.op_counts["exported"]
    assert sum(whole.flops["exported"].values()) > sum(build(module, declaration).flops["exported"].values())


def test_only_a_pass_that_a_file_can_do_without_can_be_left_out() -> None:
    assert left_out(("fused_dense", "prune", "prune")) == ("prune", "fused_dense")
    with pytest.raises(UserError, match=r"'prone' is no pass; did you mean prune\?"):
        left_out(("prone",))
    with pytest.raises(
        UserError, match="--without attach_bodies is not possible: each op of ours gets a body"
    ):
        left_out(("attach_bodies",))


def test_a_trace_serves_many_rewritings() -> None:
    """Also the float32 twin of a half-precision export: nothing is traced twice, nothing writes to the trace."""
    declaration, module, _ = declare("sliding_window", SMALL, seq="9")
    trace = traced(module, declaration)
    before = ir.to_proto(trace.model).SerializeToString()
    for changes in ({"precision": "float16"}, {"ops": "standard"}, {"without": ("prune",)}):
        rewrite(trace, replace(declaration, **changes))
    assert ir.to_proto(trace.model).SerializeToString() == before


def test_a_half_export_traces_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from temport.exporter import export

    seen = []
    monkeypatch.setattr(export, "traced_source", lambda *asked: seen.append(asked) or traced(*asked))
    request = ExportRequest("sliding_window", settings=SMALL, seq="9", precision="fp16", out=tmp_path / "b")
    run_export(replace(request, runtimes=("onnxruntime_cpu",)), Console(quiet=True))
    assert len(seen) == 1


def test_the_graph_after_each_pass_is_kept(tmp_path: Path) -> None:
    command = ["export", "--arch", "sliding_window", "--seq", "9", "--runtime", "onnxruntime_cpu"]
    command += [word for setting in SMALL for word in ("--set", setting)]
    command += [
        "--without",
        "fused_dense",
        "--keep-passes",
        str(tmp_path / "kept"),
        "--out",
        str(tmp_path / "b"),
    ]
    assert CliRunner().invoke(app, command).exit_code == 0
    report = read_json(tmp_path / "b" / "report.json")
    names = [step.name for step in report.passes]
    kept = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert kept == [f"{i:02}-{name}.onnx" for i, name in enumerate(["traced", *names])]
    assert "fused_dense" not in names and report.declaration["without"] == ["fused_dense"]
    nodes = [len(onnx.load(tmp_path / "kept" / name).graph.node) for name in kept[1:]]
    assert nodes == [step.nodes for step in report.passes] and all(step.ms >= 0 for step in report.passes)
    assert "join_reshapes" in (tmp_path / "b" / "report.html").read_text()
    with pytest.raises(UserError, match="is not empty; give --keep-passes a new directory"):
        run_export(
            ExportRequest(
                "sliding_window", settings=SMALL, keep_passes=tmp_path / "kept", out=tmp_path / "c"
            ),
            Console(quiet=True),
        )
    assert not (tmp_path / "c").exists()


def break_pass(monkeypatch: pytest.MonkeyPatch, name: str, harm: Callable[[Work], None]) -> None:
    """The pass `name` does its work, then harm."""

    def broken(work: Work) -> bool:
        changed = right.run(work)
        harm(work)
        return changed

    (right,) = (step for step in PASSES if step.name == name)
    passes = tuple(replace(step, run=broken) if step is right else step for step in PASSES)
    monkeypatch.setattr(building, "PASSES", passes)


def double_a_weight(work: Work) -> None:
    weight = next(
        v for v in work.model.graph.initializers.values() if v.shape is not None and len(v.shape) == 2
    )
    assert weight.const_value is not None
    weight.const_value = ir.tensor(2 * weight.const_value.numpy(), name=weight.name)


@pytest.fixture
def traced_once() -> Iterator[None]:
    with shared_by_exports():
        yield


def failed_export(out: Path, **asked: object) -> tuple[str, ...]:
    request = ExportRequest("sliding_window", settings=SMALL, seq="9", out=out, runtimes=("onnxruntime_cpu",))
    exported = run_export(replace(request, **asked), Console(quiet=True))
    assert not exported.passed
    return exported.report.reasons


@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        pytest.param(
            name,
            asked,
            id=f"{name}-{asked}",
            marks=pytest.mark.thorough if asked and name not in first else (),
        )
        for asked, first in (
            ({}, ()),
            ({"streaming": True}, ("fold_factors",)),
            ({"ops": "standard"}, ("flatten_rows",)),
            ({"precision": "fp16"}, ("limit_lengths",)),
        )
        for name in ("fold_factors", "flatten_rows", "limit_lengths")
    ],
)
def test_the_guilty_pass_is_named(
    name: str, asked: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "join_reshapes" if (name, asked.get("precision")) == ("fold_factors", "fp16") else name
    break_pass(monkeypatch, name, double_a_weight)
    reasons = failed_export(tmp_path / "b", **asked)
    assert f"the pass {name} makes the graph wrong; " in reasons[-1]


def test_a_wrong_trace_is_no_pass_to_blame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*asked: object) -> object:
        trace = traced(*asked)  # type: ignore[arg-type]
        model = trace.model.clone()
        double_a_weight(Work(model, Declaration("", {}, (), ())))
        return replace(trace, model=model)

    monkeypatch.setattr(exporting, "traced_source", wrong)
    assert "the traced graph already differs from the source" in failed_export(tmp_path / "b")[-1]


@pytest.mark.usefixtures("traced_once")
def test_a_wrong_runtime_is_no_pass_to_blame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from temport.exporter.runtimes.onnxruntime_cpu import OrtSession

    right = OrtSession.run
    monkeypatch.setattr(
        OrtSession, "run", lambda self, inputs: {k: v + np.float32(1) for k, v in right(self, inputs).items()}
    )
    assert not any("the pass" in reason for reason in failed_export(tmp_path / "b"))


def test_a_pass_that_raises_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(work: Work) -> None:
        raise KeyError("wrong")

    break_pass(monkeypatch, "join_reshapes", fail)
    declaration, module, _ = declare("sliding_window", SMALL, seq="9")
    with pytest.raises(
        UserError, match=r"the pass join_reshapes failed on this model \(KeyError: 'wrong'\); leave"
    ):
        build(module, declaration)


def test_a_pass_that_leaves_no_onnx_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_twice(work: Work) -> None:
        one, other = work.model.graph[1], work.model.graph[2]
        other.outputs[0].name = one.outputs[0].name

    break_pass(monkeypatch, "flat_frames", write_twice)
    declaration, module, _ = declare("sliding_window", SMALL, seq="9")
    with pytest.raises(
        UserError,
        match=r"the pass flat_frames leaves a graph that ONNX .* leave it out with --without flat_frames",
    ):
        save(build(module, replace(declaration, ops="standard")), tmp_path / "model.onnx", False)
    assert not (tmp_path / "model.onnx").exists()
