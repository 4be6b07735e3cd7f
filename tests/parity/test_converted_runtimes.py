"""Runtimes that run a form of their own: the machinery with a form of the tests, and every form that is installed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx.numpy_helper import from_array, to_array
from torch import nn

from temport.exporter.build import save
from temport.exporter.compilers.targets import FORMS, REPORT_FILE
from temport.exporter.declare.declaration import Declaration, TensorSpec
from temport.exporter.errors import UserError
from temport.exporter.parity.cases import Case, default_cases
from temport.exporter.parity.oracle import Truth, find_truths
from temport.exporter.parity.result import FAIL, NOT_RUN, PASS
from temport.exporter.parity.run import run_runtime
from temport.exporter.parity.trial import Trial, cases_for
from temport.exporter.runtimes import (
    ALL,
    CONVERTED,
    FAST,
    ON_REQUEST,
    RUNTIMES,
    chosen,
    converted,
    runtime_named,
)
from temport.exporter.runtimes.contract import Runtime
from temport.exporter.runtimes.converted import Converted, keeping
from temport.exporter.runtimes.converted_files import SIGNATURE
from temport.exporter.runtimes.environments import ENVIRONMENTS, ONNX2FX, Environment, environment_named
from temport.exporter.runtimes.plain_onnx import widened
from temport.exporter.runtimes.subject import Subject
from tests.parity.forms import Evaluated, Program
from tests.small_models import SMALL
from tests.traces import build

SMALL_MEGA = SMALL["mega-softmax"]


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A model of one size, as forms take it; without GELU, of which MNN has a coarse one (docs/runtimes.md)."""
    declaration, module = SMALL_MEGA.declare(seq="9")
    path = tmp_path_factory.mktemp("fixed") / "model.onnx"
    save(build(module, declaration), path, external_data=False)
    return Subject(declaration, path, module)


@pytest.fixture(scope="module")
def fixed_truths(fixed: Subject) -> tuple[Truth, ...]:
    return find_truths(fixed, default_cases(fixed.declaration)[:2])


def test_a_form_is_converted_and_run(
    fixed: Subject, fixed_truths: tuple[Truth, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    row = run_runtime(fixed, Converted(Evaluated()), fixed_truths)
    assert (row.verdict, row.path, row.version) == (PASS, "converted here", f"onnx {onnx.__version__}")
    assert capfd.readouterr() == ("", "")


def test_what_is_kept_is_converted_once(
    fixed: Subject, fixed_truths: tuple[Truth, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scorecard judges and times one form; of another model it is another one."""
    monkeypatch.setattr(
        "temport.exporter.runtimes.converted._silence", lambda: None
    )  # it runs in this process
    runtime, made = Converted(Evaluated()), []
    convert = Converted.convert
    monkeypatch.setattr(Converted, "convert", lambda *given: (made.append(given), convert(*given)))
    with keeping(tmp_path):
        assert run_runtime(fixed, runtime, fixed_truths[:1]).verdict == PASS
        inputs = fixed_truths[0].case.inputs
        with runtime.ready(fixed).open(fixed) as session:
            (found,) = session.prepared(inputs)()
            np.testing.assert_array_equal(found, session.run(inputs)["output"])
            assert all(file.is_file() for file in session.files) and session.files
        assert len(made) == 1
        other = tmp_path / "other" / "model.onnx"
        other.parent.mkdir()
        model = onnx.load(fixed.model_path)
        model.producer_name = "another"
        onnx.save(model, other)
        with runtime.open(replace(fixed, model_path=other)):
            assert len(made) == 2


def test_a_wrong_form_fails_and_its_tensor_is_named(fixed: Subject, fixed_truths: tuple[Truth, ...]) -> None:
    row = run_runtime(fixed, Converted(Evaluated("wrong")), fixed_truths[:1])
    assert row.verdict == FAIL
    assert row.divergence is not None and row.divergence.where == "runtime" and row.divergence.tensor


@pytest.mark.parametrize(
    ("how", "verdict", "reason"),
    [
        ("refuses", NOT_RUN, "evaluated does not take this model: NotImplementedError: there is no Softmax"),
        ("dies", FAIL, "its process died of signal SIGABRT"),
    ],
)
def test_a_model_that_is_not_converted(
    how: str, verdict: str, reason: str, fixed: Subject, fixed_truths: tuple[Truth, ...]
) -> None:
    row = run_runtime(fixed, Converted(Evaluated(how)), fixed_truths)
    assert row.verdict == verdict and reason in row.reason


def test_a_form_in_a_bundle_is_what_its_hashes_say(
    fixed: Subject, fixed_truths: tuple[Truth, ...], tmp_path: Path
) -> None:
    own = replace(fixed, model_path=tmp_path / "model.onnx")
    own.model_path.write_bytes(fixed.model_path.read_bytes())
    form = Converted(Evaluated())
    assert "evaluated.model.onnx: 0." in form.add(own)
    (entry,) = json.loads((tmp_path / REPORT_FILE).read_text())["engines"]
    assert entry["files"].keys() == {"evaluated.model.onnx", f"evaluated.{SIGNATURE}"}
    assert entry["versions"] == {"onnx": onnx.__version__}
    with form.open(own) as session:
        assert session.path == "the bundle's form"
        with pytest.raises(
            UserError, match=r"input state_sequence is float32 \(1, 8, 6\), and float32 \(1, 9, 6\)"
        ):
            session.run({"state_sequence": np.zeros((1, 8, 6), np.float32)})
    report, changed = (tmp_path / REPORT_FILE).read_text(), tmp_path / "evaluated.model.onnx"
    whole = changed.read_bytes()
    for path, content, sentence in (
        (changed, whole[:-1] + b"x", "evaluated.model.onnx is missing or differs from engine.json"),
        (own.model_path, whole, "were made of another model than model.onnx"),
        (
            tmp_path / REPORT_FILE,
            report.replace("evaluated.s", "../s").encode(),
            "which is no file of evaluated",
        ),
    ):
        path.write_bytes(content)
        row = run_runtime(own, form, fixed_truths)
        assert row.verdict == FAIL and sentence in row.reason
        changed.write_bytes(whole)


class Reshaped(nn.Module):
    """As onnx2fx makes it: the new shape is a tensor, which every run reads."""

    def __init__(self, shape: torch.Tensor, factors: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("shape", shape)
        self.register_buffer("factors", factors)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.reshape(x, self.shape.tolist()) * self.factors


def test_without_a_module_a_program_is_made_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process. The module of an ONNX file is none that torch can trace."""
    graph = onnx.parser.parse_graph(
        "g (float[2, 3] x) => (float[3, 2] y)"
        " <int64[2] shape = {3, 2}, int8[2] stored = {4, 8}, float[2] scale = {0.5, 0.5}>"
        " { z = Reshape(x, shape)  w = DequantizeLinear <axis = 0> (stored, scale)  y = Mul(z, w) }"
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "model.onnx")
    declared = [TensorSpec("x", "float32", (2, 3))], [TensorSpec("y", "float32", (3, 2))]
    declaration = Declaration("onnx", {}, *map(tuple, declared))
    subject = Subject(declaration, tmp_path / "model.onnx", nn.Identity())

    def convert(model: onnx.ModelProto) -> nn.Module:
        assert [node.op_type for node in model.graph.node] == ["Reshape", "Mul"], (
            "weights are as they are used"
        )
        tensors = {held.name: torch.from_numpy(to_array(held).copy()) for held in model.graph.initializer}
        return Reshaped(tensors["shape"], tensors["w"])

    fake = SimpleNamespace(convert=convert)
    monkeypatch.setitem(sys.modules, "onnx2fx", fake)
    monkeypatch.setattr(converted, "Apart", lambda runtime, **_: runtime)
    monkeypatch.setattr(converted, "_silence", lambda: None)
    monkeypatch.setattr(converted, "ONNX2FX", Environment("onnx2fx", ("onnx==0",)))  # this Python has it
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    with Converted(Program()).open(subject) as session:
        np.testing.assert_array_equal(session.run({"x": x})["y"], x.reshape(3, 2) * [2, 4])
    with pytest.raises(UserError, match="program does not take this model: "):
        monkeypatch.setattr(fake, "convert", lambda model: lambda x: x.nonzero())
        Converted(Program()).open(subject)


def test_weights_in_few_bits_are_widened() -> None:
    """Along their axis, and however large they are."""
    rng = np.random.default_rng(0)
    stored, scale = rng.integers(-127, 127, (600, 900)).astype(np.int8), rng.random(600).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(*of) for of in (("x", 1, [2, 600]), ("y", 1, [2, 900]))]
    held = [from_array(stored, "q"), from_array(scale, "s")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], held)
    made = widened(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    assert [node.op_type for node in made.graph.node] == ["MatMul"]
    np.testing.assert_array_equal(to_array(made.graph.initializer[0]), stored * scale[:, None])


def test_without_a_module_onnx2fx_is_asked_for(
    fixed: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told = "made of the file by onnx2fx, and onnx2fx is not installed; temport runtimes install onnx2fx"
    with pytest.raises(UserError, match=told):
        Converted(Program()).open(replace(fixed, module=None))


def test_packages_are_found_in_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    environment = Environment("nothing", ("no-such-package==1.2",))
    row = Converted(Evaluated(environment=environment))
    assert row.unavailable() == "nothing is not installed; temport runtimes install nothing"
    (environment.folder / "no_such_package-1.2.dist-info").mkdir(parents=True)
    (environment.folder / "no_such_package-1.2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: no-such-package\nVersion: 1.2\n"
    )
    assert row.unavailable() is None and environment.version() == "1.2"
    assert Environment("nothing", ("no-such-package==1.3",)).missing() is not None
    assert Environment("onnx", ("onnx==0",)).missing() is None, "this Python has it"
    with pytest.raises(UserError, match="did you mean tract"):
        environment_named("trakt")


@pytest.mark.thorough
def test_packages_that_cannot_be_had_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    environment = Environment("nothing", ("no-such-package==1.2",))
    with pytest.raises(UserError, match=r"nothing cannot be installed: .*no-such-package"):
        environment.install()
    assert not list((tmp_path / "temport" / "runtimes").iterdir()) and environment.missing() is not None


def test_rows_by_name() -> None:
    assert chosen(()) is None
    assert [row.name for row in chosen((FAST,)) or ()][: len(RUNTIMES)] == list(RUNTIMES)
    assert {row.name for row in chosen((ALL, "tract")) or ()} >= RUNTIMES.keys() | ON_REQUEST.keys()
    assert [row.name for row in chosen(("tract", "openvino", "tract")) or ()] == ["tract", "openvino"]
    assert tuple(sorted(name.replace("_", "-") for name in CONVERTED)) == FORMS
    assert {row.form.environment for row in map(runtime_named, CONVERTED) if isinstance(row, Converted)} == {
        None,
        *ENVIRONMENTS.values(),
    } - {ONNX2FX}


every_form = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.thorough) for name in CONVERTED]
)


def usable(name: str) -> Runtime:
    row = runtime_named(name)
    if (reason := row.unavailable()) is not None:
        pytest.skip(reason)
    return row


@every_form
def test_right_numbers(name: str, fixed: Subject, fixed_truths: tuple[Truth, ...]) -> None:
    row = run_runtime(fixed, usable(name), fixed_truths)
    assert (row.verdict, row.name) == (PASS, name), row
    assert row.version


@every_form
def test_outputs_are_as_declared_and_repeat(
    name: str, fixed: Subject, fixed_truths: tuple[Truth, ...]
) -> None:
    with usable(name).open(fixed) as session:
        for truth in fixed_truths:
            before = {key: array.copy() for key, array in truth.case.inputs.items()}
            first, second = (session.run(truth.case.inputs)["output"].copy() for _ in range(2))
            assert first.dtype == np.float32 and first.shape == truth.outputs["output"].shape
            np.testing.assert_array_equal(first, second)
            for key, array in before.items():
                np.testing.assert_array_equal(truth.case.inputs[key], array)


@every_form
def test_another_weight_is_seen(
    name: str, fixed: Subject, fixed_truths: tuple[Truth, ...], tmp_path: Path
) -> None:
    """Of the file, or of the module where the form is made of it."""
    model, (_, module) = onnx.load(fixed.model_path), SMALL_MEGA.declare(seq="9", seed=1)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    largest.CopyFrom(onnx.numpy_helper.from_array(0.5 * onnx.numpy_helper.to_array(largest), largest.name))
    onnx.save(model, tmp_path / "model.onnx")
    other = Subject(fixed.declaration, tmp_path / "model.onnx", module)
    row = run_runtime(other, usable(name), fixed_truths[:1])
    assert row.verdict == FAIL and row.results


@every_form
def test_a_stream(name: str, tmp_path: Path) -> None:
    declaration, module = SMALL_MEGA.declare_stream(seq="9")
    save(build(module, declaration), tmp_path / "model.onnx", external_data=False)
    trial = Trial.of(declaration, tmp_path / "model.onnx", module)
    cases: tuple[Case, ...] = cases_for(declaration)[:1]
    runtime = usable(name)
    assert isinstance(runtime, Converted)
    if runtime.form.of_module and (missing := ONNX2FX.missing()) is not None:
        pytest.skip(missing)
    (row,) = trial.run(cases, [runtime], None, lambda *step: None).runtimes
    assert row.verdict == PASS, row


@every_form
def test_weights_in_few_bits(name: str, tmp_path: Path) -> None:
    """With scales along an axis in the middle, as recurrent layers have them."""
    rng = np.random.default_rng(0)
    stored, scale = rng.integers(-127, 127, (1, 16, 16)).astype(np.int8), rng.random(16).astype(np.float32)
    graph = onnx.parser.parse_graph(
        "g (float[2, 16] x) => (float[2, 16] y) <int64[1] first = {0}>"
        " { w = DequantizeLinear <axis = 1> (q, s)  m = Squeeze(w, first)  y = MatMul(x, m) }"
    )
    graph.initializer.extend([from_array(stored, "q"), from_array(scale, "s")])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10),
        tmp_path / "model.onnx",
    )
    specs = (TensorSpec("x", "float32", (2, 16)),), (TensorSpec("y", "float32", (2, 16)),)
    subject = Subject(Declaration("onnx", {}, *specs, opset=21, ops="standard"), tmp_path / "model.onnx")
    x = rng.standard_normal((2, 16)).astype(np.float32)
    runtime = usable(name)
    assert isinstance(runtime, Converted)
    if runtime.form.of_module and (missing := ONNX2FX.missing()) is not None:
        pytest.skip(missing)
    with runtime.open(subject) as session:
        found = session.run({"x": x})["y"]
    np.testing.assert_allclose(found, x @ (stored[0] * scale[:, None]), rtol=1e-4, atol=1e-2)
