"""Ill-conditioned cases are seen as such, and cannot make a gate green by themselves."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper
from torch import nn

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.errors import UserError
from temport.exporter.parity.cases import Case, default_cases
from temport.exporter.parity.compare import EPS, judge
from temport.exporter.parity.conditioning import amplification, jittered
from temport.exporter.parity.oracle import find_truth, find_truths
from temport.exporter.parity.result import FAIL, ILL, PASS, ParityReport
from temport.exporter.parity.run import run_parity
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.subject import Subject

SPEC = (Axis("batch", 2, 2, 2), 5, 3)
LARGE = 1e6


class Cancelling(nn.Module):
    """y = (x + 1e6) - 1e6: float32 keeps about one digit of x ~ 1, and three of x ~ 100."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + LARGE) - LARGE


@pytest.fixture(scope="module")
def cancelling(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 5, 3]) for n in ("x", "output")]
    big = helper.make_tensor("big", TensorProto.FLOAT, [], [LARGE])
    nodes = [
        helper.make_node("Add", ["x", "big"], ["sum"]),
        helper.make_node("Sub", ["sum", "big"], ["output"]),
    ]
    graph = helper.make_graph(nodes, "cancelling", values[:1], values[1:], [big])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = tmp_path_factory.mktemp("cancelling") / "model.onnx"
    onnx.save(model, path)
    declaration = Declaration(
        "module", {}, (TensorSpec("x", "float32", SPEC),), (TensorSpec("output", "float32", SPEC),)
    )
    return Subject(declaration, path, Cancelling())


def judged(subject: Subject, *kinds: str) -> ParityReport:
    cases = {case.kind: case for case in default_cases(subject.declaration)}
    return run_parity(subject, [cases[kind] for kind in kinds], [runtime_named("onnxruntime_cpu")])


def test_well_conditioned_cases_decide_the_gate(cancelling):
    report = judged(cancelling, "normal", "tiny", "large", "raw")
    verdicts = {result.case.split("-")[0]: result.verdict for result in report.runtimes[0].results}
    assert verdicts == {"normal": ILL, "tiny": ILL, "large": PASS, "raw": PASS}
    assert report.passed


@pytest.mark.parametrize(
    ("kinds", "judged_cases"), [(("normal",), "0 of 1"), (("normal", "tiny", "large"), "1 of 3")]
)
def test_gate_fails_when_less_than_half_could_be_judged(cancelling, kinds, judged_cases):
    report = judged(cancelling, *kinds)
    assert report.verdict == FAIL
    why = f"in {len(kinds) - ('large' in kinds)}: the source's own error is above the ceiling here"
    assert report.reasons == (f"onnxruntime_cpu: only {judged_cases} cases could be judged ({why})",)


class Zero(nn.Module):
    """Outputs that are exactly 0: centred numbers summed, weights of a softmax less their sum, two orders of a sum."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        centred = x - x.mean(1, keepdim=True)
        return centred.sum(1), x.softmax(-1).sum(-1) - 1, x[:, :1] + 1 - (1 + x[:, :1])


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_an_output_that_is_exactly_zero_is_judged_by_what_was_summed(precision: str) -> None:
    """No order of a sum gives 0 exactly, and a runtime that does not give 0 at all is wrong."""
    shapes = ((Axis("batch", 2, 2, 2), 3), (Axis("batch", 2, 2, 2), 5), (Axis("batch", 2, 2, 2), 1, 3))
    outputs = tuple(TensorSpec(f"y{i}", "float32", shape) for i, shape in enumerate(shapes))
    declaration = Declaration("module", {}, (TensorSpec("x", "float32", SPEC),), outputs, precision=precision)
    case = Case("normal", "normal", {"x": np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)})
    (truth,) = find_truths(Subject(declaration, None, Zero()), [case])
    for name, sizes in {"y0": (3, 30), "y1": (1, 4), "y2": (1, 10)}.items():
        oracle, limit = truth.outputs[name], truth.bounds[name]
        assert np.abs(oracle).max() < 1e-14 and sizes[0] < limit.scale < sizes[1]
        off = np.where(np.arange(oracle.size).reshape(oracle.shape) % 2, 1.0, -1.0)
        for error, verdict in ((EPS[precision], PASS), (100 * EPS[precision] * limit.scale, FAIL)):
            assert judge(off * error, oracle, limit, precision, truth.limits.get(name)).verdict == verdict
        assert truth.allowed_of_file(name) > 1e-12


class Written(nn.Module):
    """What lies in a tensor after parts of it were written is what counts, beside outputs that are no such numbers."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cleared, added = x.clone(), x.clone()
        cleared[:, 0].zero_()
        cleared[:, 1:].sub_(x[:, 1:])
        added += 1
        whole = torch.full(x.shape, -3)
        return cleared, added - x - 1, x * whole - x * whole, (x > 0).all(1), whole[0]


def test_what_is_written_in_place_and_whole_numbers_count_in_a_scale() -> None:
    batch = Axis("batch", 2, 2, 2)
    kinds = {"y0": "float32", "y1": "float32", "y2": "float32", "yes": "bool", "whole": "int64"}
    shapes = (SPEC, SPEC, SPEC, (batch, 3), (5, 3))
    outputs = tuple(
        TensorSpec(name, kind, shape) for (name, kind), shape in zip(kinds.items(), shapes, strict=True)
    )
    declaration = Declaration("module", {}, (TensorSpec("x", "float32", SPEC),), outputs)
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    (truth,) = find_truths(Subject(declaration, None, Written()), [Case("normal", "normal", {"x": x})])
    largest = float(np.abs(x).max())
    scales = [truth.bounds[name].scale for name, kind in kinds.items() if kind == "float32"]
    assert scales == pytest.approx([0, 2 * largest + 2, 6 * largest], rel=1e-6)
    wrong = np.full((2, 5, 3), 1e-3)
    assert judge(wrong, truth.outputs["y1"], truth.bounds["y1"], "float32").verdict == FAIL


def test_jittered_copies_count_in_the_torch_error(cancelling):
    """Inputs that float32 happens to add exactly: the case alone would claim that torch makes no error."""
    x = np.round(np.random.default_rng(0).standard_normal((2, 5, 3)) * 16) / 16
    case = Case("lucky", "constant", {"x": (x * 100).astype(np.float32)})
    assert np.array_equal(Cancelling()(torch.from_numpy(case.inputs["x"])).numpy(), case.inputs["x"])
    (truth,) = find_truths(cancelling, [case])
    assert truth.bounds["output"].torch_error > 0


def test_conditioning_of_a_steep_function_is_its_slope():
    class Power(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x**9

    declaration = Declaration(
        "module", {}, (TensorSpec("x", "float32", SPEC),), (TensorSpec("output", "float32", SPEC),)
    )
    case = Case("ones", "constant", {"x": np.ones((2, 5, 3), np.float32)})
    (truth,) = find_truths(Subject(declaration, None, Power()), [case])
    # one ulp above 1 is eps, and (1 + eps)^9 = 1 + 9 eps + ...; (1 - eps) likewise
    assert truth.bounds["output"].conditioning == pytest.approx(9, rel=1e-5)


def test_no_torch_source_no_oracle(subject, cases):
    with pytest.raises(UserError, match="no oracle"):
        find_truths(replace(subject, module=None), cases)


@pytest.mark.parametrize(
    ("error_in_ulps", "runs"), [(0, 4), (15, 4), (17, 24), (8000, 24), (9000, 4), (float("nan"), 4)]
)
def test_copies_are_drawn_where_they_can_change_the_bound(error_in_ulps, runs):
    """Below the fixed floor and above the ceiling (1e-3 = 8389 ulps of float32) a few are enough."""
    calls = []

    def torch(inputs):
        calls.append(inputs)
        return {"output": np.full(3, 2.0) * (1 + error_in_ulps * EPS["float32"])}

    oracle = SimpleNamespace(run=lambda inputs: {"output": np.full(3, 2.0)})
    case = Case("c", "normal", {"x": np.ones(3, np.float32)})
    truth = find_truth(case, oracle, SimpleNamespace(run=torch), "float32")
    assert len(calls) == runs
    assert truth.bounds["output"].judgeable == (error_in_ulps <= 8000)


def test_copies_for_the_noise_allow_no_larger_error():
    """The first four runs rule the largest error; those after them only the statistics."""
    errors = iter([1, 3, 2, 0, *[15] * 8])

    def torch(inputs):
        return {"output": np.full(4, 2.0) * (1 + next(errors) * EPS["float16"])}

    oracle = SimpleNamespace(run=lambda inputs: {"output": np.full(4, 2.0)})
    case = Case("c", "normal", {"x": np.ones(3, np.float32)})
    truth = find_truth(case, oracle, SimpleNamespace(run=torch), "float16")
    assert truth.bounds["output"].torch_error == 2 * 3 * EPS["float16"]
    assert truth.limits["output"].rms == pytest.approx(((2 + 2 / 2) * 2 * 15 + 2) * EPS["float16"])


def test_two_cases_of_one_name_are_refused(cancelling):
    cases = default_cases(cancelling.declaration)
    with pytest.raises(UserError, match=f"two cases are called {cases[0].name}"):
        find_truths(cancelling, [*cases, cases[0]])


@settings(max_examples=60)
@given(
    arrays.arrays(
        np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32).filter(lambda v: v == 0 or abs(v) > 1e-20)
    ),
    st.integers(0, 5),
)
def test_jitter_moves_each_value_by_at_most_two_ulps_and_no_mask(x, draw):
    case = Case("c", "normal", {"x": x, "mask": x > 0})
    moved = jittered(case, draw, "float32")
    assert np.array_equal(moved["mask"], case.inputs["mask"])
    assert moved["x"].dtype == np.float32
    assert np.all(np.abs(moved["x"] - x) <= 2 * np.spacing(np.abs(x)))
    assert np.all((moved["x"] != x) == (x != 0))
    assert np.array_equal(moved["x"], jittered(case, draw, "float32")["x"])


def test_amplification_of_a_zero_output_is_zero():
    assert amplification(0.0, 0.0, "float32") == 0.0
    assert amplification(4 * EPS["float16"], 2.0, "float16") == 2.0
