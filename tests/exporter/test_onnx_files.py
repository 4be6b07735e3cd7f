"""ONNX files of anybody's as the source: right in every runtime, with their own signature, or one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import helper
from safetensors.numpy import load_file

from temport.exporter import build as building
from temport.exporter.bundle.directory import open_bundle
from temport.exporter.declare.declaration import Axis
from temport.exporter.declare.fitted import _sizes, fit
from temport.exporter.declare.sizes import normal, size
from temport.exporter.errors import UserError
from temport.exporter.export import Exported, export, run_export
from temport.exporter.onnx_source.declare import declare_onnx
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.onnx_source.reading import read_onnx
from temport.exporter.passes.order import PASSES
from temport.exporter.passes.work import Work
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.request import ExportRequest
from temport.exporter.terminal import Terminal
from tests.exporter import onnx_files as files

QUIET = Terminal(quiet=True)
FEW = ("onnxruntime_cpu", "onnxruntime_native")
IDS = ("ids:int64[0:20]=N,seq",)
Sizes = dict[str, int]


def exported(path: Path, **asked: Any) -> Exported:
    request = ExportRequest(onnx=path, out=path.with_suffix(".bundle"), runtimes=FEW)
    return run_export(replace(request, **asked), QUIET)


def plain(path: Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime makes of a file, without us."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


@pytest.mark.parametrize(
    ("make", "asked", "outputs"),
    [
        (
            lambda: files.dense(11),
            {"axes": ("time=1:9:20",)},
            [["batch", "(time + 1) // 2", 6], ["batch", 3]],
        ),
        (files.branches, {"axes": ("time=1:5:9",)}, [[3, "batch", 3], ["batch", "time", 3]]),
        (files.attention, {"seq": "1:7:12"}, [["batch", "seq", 8]]),
        (files.newer, {"shapes": ("at:int64[0:20]=batch,7",)}, [["batch", 7, 8]]),
        (files.ids, {"shapes": IDS, "seq": "1:5:9", "axes": ("N=1:2:4",)}, [["seq", "N", 4], [2, "N"]]),
        (files.half, {"seq": "7"}, [["batch", 7, 8]]),
    ],
    ids=["opset 11", "control flow", "opset 23", "opset 24", "ids", "float16"],
)
def test_a_file_gives_what_it_gave_before(
    make: Callable[[], onnx.ModelProto], asked: dict[str, Any], outputs: list[list[Any]], tmp_path: Path
) -> None:
    source = files.written(tmp_path, make())
    found = exported(source, **({"batch": "1:2:3"} if "batch" in str(outputs) else {}), **asked)
    assert found.passed, found.report.reasons
    declaration = open_bundle(found.path).declaration
    assert [spec.onnx_shape() for spec in declaration.outputs] == outputs
    assert declaration.opset == max(20, onnx.load(source).opset_import[0].version)
    assert {row.name for row in found.report.runtimes if row.verdict == "pass"} <= set(FEW)
    rng = np.random.default_rng(0)
    for turn in (1, 2):
        sizes = {n: min(turn * axis.opt, axis.max) for n, axis in declaration.axes.items()}
        inputs = {
            spec.name: rng.integers(0, 20, spec.at(**sizes)).astype(spec.dtype)
            if spec.dtype == "int64"
            else rng.standard_normal(spec.at(**sizes)).astype(spec.dtype)
            for spec in declaration.inputs
        }
        for before, after in zip(
            plain(source, inputs), plain(found.path / "model.onnx", inputs), strict=True
        ):
            assert before.dtype == after.dtype
            np.testing.assert_allclose(after, before, atol=2e-3 if before.dtype == np.float16 else 2e-5)


def test_the_oracle_knows_operators_as_they_were(tmp_path: Path) -> None:
    """ONNX's evaluator takes the softmax of now for that of opset 11; ONNX Runtime does not."""
    source = files.written(tmp_path, files.old_operators())
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    module = OnnxModule(read_onnx(source)[0])
    for kind in (torch.float32, torch.float64):
        found = module.to(kind)(torch.from_numpy(x).to(kind))
        for expected, tensor in zip(plain(source, {"x": x}), found.values(), strict=True):
            assert tensor.dtype == kind
            np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_the_oracle_knows_lengths_and_activations(op: str, direction: str, tmp_path: Path) -> None:
    source = files.written(tmp_path, files.recurrent(op, direction))
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
    found = OnnxModule(read_onnx(source)[0])(torch.from_numpy(x))
    for expected, tensor in zip(plain(source, {"x": x}), found.values(), strict=True):
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_a_file_of_torch_gives_what_torch_gave(tmp_path: Path) -> None:
    expected = files.of_torch(tmp_path / "model.onnx")
    found = exported(tmp_path / "model.onnx", batch="1:2:3", axes=("time=1:9:12",))
    assert found.passed
    (got,) = plain(
        found.path / "model.onnx", {"x": np.linspace(-1, 1, 54, dtype=np.float32).reshape(2, 9, 3)}
    )
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-6)


def test_one_of_our_own_files_keeps_its_ops(tmp_path: Path) -> None:
    first = run_export(
        ExportRequest(
            "mega", settings=("embed_dim=4", "hidden_size=8", "num_layers=1"), seq="9",
            out=tmp_path / "first", runtimes=FEW[:1],
        ),
        QUIET,
    )  # fmt: skip
    again = exported(first.path / "model.onnx", out=tmp_path / "again", runtimes=(*FEW, "op_reference"))
    assert again.passed
    assert again.report.op_counts["exported"] == first.report.op_counts["exported"]
    paths = {row.name: row.path for row in again.report.runtimes}
    assert paths["onnxruntime_native"].startswith("native kernels")


def test_the_report_says_that_torch_had_no_part(tmp_path: Path) -> None:
    source = files.written(tmp_path, files.dense())
    found = exported(source, batch="2", axes=("time=5",), runtimes=("torch_float32", "onnxruntime_cpu"))
    row = found.report.runtimes[0]
    assert (row.name, row.verdict, row.reason) == ("torch_float32", "not run", "the source is an ONNX file")
    page = re.sub(r"<style.*?</style>", "", (found.path / "report.html").read_text(), flags=re.DOTALL)
    for claim in ("torch source", "torch's", "torch itself", "torch eager"):
        assert claim not in page
    assert open_bundle(found.path).manifest["source"]


def test_a_bundle_is_checked_again_with_its_file_and_without(tmp_path: Path) -> None:
    source = files.written(tmp_path, files.dense())
    bundle = exported(source, batch="2", axes=("time=5",), runtimes=FEW[:1]).path
    for again in (None, str(source)):
        assert run_parity_of_bundle(bundle, FEW[:1], console=QUIET, source=again)
    other = tmp_path / "other.onnx"
    other.write_bytes(files.attention().SerializeToString())
    with pytest.raises(Exception, match="other inputs or outputs than the file"):
        run_parity_of_bundle(bundle, FEW[:1], console=QUIET, source=str(other))
    held = load_file(bundle / "weights.safetensors")
    np.testing.assert_array_equal(held["u"], files.random(3, 6))


@pytest.mark.parametrize("name", ["spell_dense", "fused_dense"])
def test_a_wrong_pass_is_seen_and_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle is the file as it came, so that what we do to it cannot hide."""

    def broken(work: Work) -> bool:
        changed = right.run(work)
        weight = next(v for v in work.model.graph.initializers.values() if v.shape and len(v.shape) == 2)
        assert weight.const_value is not None
        weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.001), name=weight.name)
        return changed

    (right,) = (step for step in PASSES if step.name == name)
    monkeypatch.setattr(
        building, "PASSES", tuple(replace(s, run=broken) if s is right else s for s in PASSES)
    )
    found = exported(files.written(tmp_path, files.dense()), batch="2", axes=("time=5",))
    assert not found.passed
    assert f"the pass {name} makes the graph wrong" in found.report.reasons[-1]


def signature(model: onnx.ModelProto, tmp_path: Path, *shapes: str, **asked: Any) -> dict[str, list[Any]]:
    declaration, _ = declare_onnx(files.written(tmp_path, model), shapes, **asked)
    return {spec.name: spec.onnx_shape() for spec in (*declaration.inputs, *declaration.outputs)}


def test_axes_are_called_as_the_file_or_the_user_does(tmp_path: Path) -> None:
    small = {"axes": {"time": "1:4:6"}, "batch": "1:2:3"}
    assert signature(files.dense(), tmp_path, **small)["y"] == ["batch", "(time + 1) // 2", 6]
    renamed = signature(files.dense(), tmp_path, "x=batch,seq,4", batch="2", seq="1:4:6")
    assert renamed == {"x": [2, "seq", 4], "y": [2, "(seq + 1) // 2", 6], "z": [2, 3]}
    assert signature(files.dense(), tmp_path, "x=2,5,4")["y"] == [2, 3, 6]
    two = {"axes": {"N": "1:2:3", "ids_1": "1:2:3"}}
    assert signature(files.ids(), tmp_path, "ids:int64[0:20]=N,ids_1", **two)["ids"] == ["N", "ids_1"]
    kept = signature(files.dense(), tmp_path, **small, names=["mean"], dropped=["y"])
    assert kept == {"x": ["batch", "time", 4], "mean": ["batch", 3]}
    assert declare_onnx(tmp_path / "model.onnx", axes={"time": "4"})[0].axes["batch"] == Axis(
        "batch", 1, 8, 64
    )


def test_outputs_may_be_inputs_and_numbers_may_be_doubles_without_axes(tmp_path: Path) -> None:
    double: files.Info = ("x", onnx.TensorProto.DOUBLE, [])
    nodes = [helper.make_node("Add", ["x", "b"], ["y"])]
    model = files.model(17, nodes, [double], [("y", *double[1:]), double], b=np.float64(1 / 3))
    model.opset_import[0].domain = model.graph.node[0].domain = "ai.onnx"
    found = exported(files.written(tmp_path, model), runtimes=FEW[:1])
    assert found.passed
    assert [s.name for s in open_bundle(found.path).declaration.outputs] == ["y", "x_out"]
    assert plain(found.path / "model.onnx", {"x": np.array(1.0)}) == [1 + 1 / 3, 1.0]


@pytest.mark.parametrize(
    "expression",
    [
        "(seq + 1) // 2", "past + seq", "batch * ((seq + 3) // 2)", "min(seq, 10)", "max(seq - 3, 0)", "2 * seq + 1",
        "batch * (past + seq)", "(3 * seq + 4) // 5", "seq + 2 * past - 1", "(seq - 1) // 3 + 1", "batch * past * seq",
    ],
)  # fmt: skip
def test_a_computed_axis_is_found_by_its_sizes(expression: str) -> None:
    axes = {
        "batch": Axis("batch", 1, 8, 64),
        "seq": Axis("seq", 1, 60, 1024),
        "past": Axis("past", 0, 4, 100),
    }
    samples = [(sizes, size(expression, sizes)) for sizes in _sizes(axes)]
    found = fit(samples)
    assert found is not None and found == normal(found)
    for sizes in ({"batch": 3, "seq": 777, "past": 61}, {"batch": 64, "seq": 1, "past": 0}):
        assert size(found, sizes) == size(expression, sizes)
    assert fit([(s, n + (s["seq"] == 13)) for s, n in samples]) is None, (
        "one size that is otherwise is no such axis"
    )


def test_python_takes_a_path(tmp_path: Path) -> None:
    source = files.written(tmp_path, files.dense())
    found = export(
        onnx=str(source), out=str(tmp_path / "b"), ranges={"batch": 2, "time": (4, 5, 6)}, runtimes=FEW[:1]
    )
    assert found.passed
    assert open_bundle(found.path).declaration.axes == {
        "batch": Axis("batch", 2, 2, 2),
        "time": Axis("time", 4, 5, 6),
    }


def test_a_file_of_ours_keeps_the_ranges_that_it_declares(tmp_path: Path) -> None:
    model = files.attention()
    frames = {"name": "x", "shape": [{"name": "seq", "min": 2, "opt": 5, "max": 9}, 8]}
    helper.set_model_props(model, {"temport.signature": json.dumps({"inputs": [frames]})})
    path = files.written(tmp_path, model)
    declaration, _ = declare_onnx(path)
    assert declaration.axes["seq"] == Axis("seq", 2, 5, 9)
    assert declaration.axes["batch"] == Axis("batch", 1, 8, 64) and declaration.notes == ()
    assert declare_onnx(path, seq="3:4:5")[0].axes["seq"] == Axis("seq", 3, 4, 5)
    frames["shape"][0]["min"] = "one"
    helper.set_model_props(model, {"temport.signature": json.dumps({"inputs": [frames]})})
    with pytest.raises(UserError, match=r"carries a temport.signature that says no ranges"):
        declare_onnx(files.written(tmp_path, model))


def test_several_open_axes_without_a_range_take_short_ones_and_that_is_told(tmp_path: Path) -> None:
    model = files.attention()
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            dim.ClearField("dim_param")
    path = files.written(tmp_path, model)
    declaration, _ = declare_onnx(path)
    (name,) = (spec.name for spec in declaration.inputs)
    short = [Axis(f"{name}_{place}", 1, 8, 64) for place in (0, 1)]
    assert [declaration.axes[axis.name] for axis in short] == short
    (note,) = declaration.notes
    assert (
        note.startswith(f"{name}_0, {name}_1 had no range and took 1 to 64") and f"--axis {name}_0=" in note
    )
    known, _ = declare_onnx(path, axes={f"{name}_0": "1:2:3"})
    assert known.axes[f"{name}_1"] == Axis(f"{name}_1", 1, 60, 1024) and known.notes == ()
