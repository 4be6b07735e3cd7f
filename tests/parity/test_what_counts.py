"""What a gate may be green on: enough judged cases, outputs that answer to inputs, numbers that are numbers."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from temport.exporter.build import rewrite, save
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.declare.values import Values
from temport.exporter.parity.before_rounding import BeforeRounding
from temport.exporter.parity.cases import DISTRIBUTIONS, Case, default_cases, edges
from temport.exporter.parity.gate import gate
from temport.exporter.parity.oracle import find_truths
from temport.exporter.parity.remarks import remarks
from temport.exporter.parity.result import FAIL, ILL, PASS, OutputRow, ParityReport, ResultRow, RuntimeRow
from temport.exporter.parity.run import run_parity
from temport.exporter.parity.trial import Trial
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.subject import Subject
from temport.exporter.trace.trace import trace
from tests.parity.small_models import small
from tests.parity.test_parity_gate import Spoiled, WrongKernel

SHAPE = (Axis("batch", 2, 2, 2), Axis("seq", 8, 8, 8), 3)


def declaration(precision: str = "float32") -> Declaration:
    specs = (TensorSpec("x", "float32", SHAPE),), (TensorSpec("output", "float32", SHAPE),)
    return Declaration("module", {}, *specs, precision=precision)


def report_of(module: nn.Module, folder: Path, cases: list[Case], precision: str = "float32") -> ParityReport:
    """The gate of a module of one's own in ONNX's reference evaluator and in torch."""
    declared, before = declaration(precision), BeforeRounding()
    save(
        rewrite(trace(module.eval(), declared), declared, before), folder / "model.onnx", external_data=False
    )
    trial = Trial.of(declared, folder / "model.onnx", module, before)
    return trial.run(
        cases, [runtime_named("onnx_reference"), runtime_named("onnxruntime_cpu")], None, lambda *step: None
    )


class Affine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Decided(Affine):
    """Scores, and which of them is the largest."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.layer(x)
        return scores, scores.argmax(-1)


def halved(model: onnx.ModelProto) -> None:
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) / 2, weight.name))


def smallest(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "ArgMax").op_type = "ArgMin"


@pytest.mark.parametrize(
    ("edit", "of_file", "where", "tensor"),
    [(halved, False, "runtime", "output"), (smallest, True, "file", "best")],
)
def test_a_decision_is_blamed_where_it_is_wrong_itself(edit, of_file, where, tensor, tmp_path):
    """And not where it follows from wrong numbers."""
    module, path = Decided(), tmp_path / "model.onnx"
    decision = TensorSpec("best", "int64", SHAPE[:2])
    declared = replace(declaration(), outputs=(*declaration().outputs, decision))
    save(rewrite(trace(module.eval(), declared), declared), path, external_data=False)
    if of_file:
        model = onnx.load(path)
        edit(model)
        onnx.save(model, path)
    runtime = runtime_named("onnxruntime_cpu") if of_file else WrongKernel(edit)
    report = Trial.of(declared, path, module).run(inputs(1.0), [runtime], None, lambda *step: None)
    at = report.runtimes[0].divergence
    assert (at.where, at.tensor.split("/")[0]) == (where, tensor), at


class Constant(Affine):
    """Whatever goes in is multiplied by 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x * 0.0)


class Root(Affine):
    """NaN where a sum of weights times inputs is negative."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(self.layer(x))


def inputs(*values: float) -> list[Case]:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 8, 3))
    return [Case(f"x{v:g}", "real", {"x": (v + 0.01 * v * noise).astype(np.float32)}) for v in values]


def row(*verdicts: str) -> RuntimeRow:
    results = [
        ResultRow(f"case{i}", verdict, {"output": OutputRow(verdict, "why" if verdict == ILL else "")})
        for i, verdict in enumerate(verdicts)
    ]
    return RuntimeRow("a", "1", "p", ILL if ILL in verdicts else PASS, "", tuple(results))


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        ((PASS, PASS), PASS),
        ((PASS, ILL), PASS),
        ((PASS, ILL, ILL), FAIL),
        ((PASS, PASS, ILL, ILL, ILL), FAIL),
        ((ILL,), FAIL),
    ],
)
def test_half_of_the_cases_have_to_be_judged(verdicts, verdict):
    assert gate([row(*verdicts)])[0] == verdict
    assert gate([row(PASS)], [row(*verdicts)])[0] == verdict  # checks of the file count alike


def test_checks_alone_are_no_runtime():
    assert gate([], [row(PASS)]) == (FAIL, ("no runtime was run",))


def test_a_source_that_gives_nan_says_so(tmp_path):
    report = report_of(Root(), tmp_path, default_cases(declaration())[:3])
    assert report.verdict == FAIL
    assert "could be judged (in 3: the source itself gives NaN here)" in report.reasons[0]
    assert report.warnings[0].startswith("the source itself gives NaN or infinity in float64: ")


class Masked(nn.Module):
    """torch's attention, or the same by hand, under a mask of keys in which True is ignored."""

    def __init__(self, by_hand: bool) -> None:
        super().__init__()
        self.by_hand = by_hand

    def forward(self, x: torch.Tensor, ignored: torch.Tensor) -> torch.Tensor:
        if self.by_hand:
            return (x @ x.mT).masked_fill(ignored[:, None], -torch.inf).softmax(-1) @ x
        return nn.functional.scaled_dot_product_attention(x, x, x, ~ignored[:, None])


@pytest.mark.parametrize(("by_hand", "answer"), [(False, "numbers"), (True, "NaN")])
def test_cases_in_which_a_query_has_no_key_are_named(by_hand, answer, tmp_path):
    mask = TensorSpec("ignored", "bool", SHAPE[:2], Values(ignore=True))
    declared = replace(declaration(), inputs=(*declaration().inputs, mask))
    some, every = (np.zeros((2, 8), bool), np.ones((2, 8), bool))
    some[1, 3:] = every[0, 1:] = True
    every[0, 0] = False
    x = inputs(1.0)[0].inputs["x"]
    cases = [Case(name, "real", {"x": x, "ignored": m}) for name, m in (("some", some), ("every", every))]
    subject = Subject(declared, tmp_path / "none.onnx", Masked(by_hand).eval())
    told = f"ignored excludes every entry of a row, and the source gives {answer} in every"
    assert remarks(find_truths(subject, cases), declared)[0] == told
    assert told not in remarks(find_truths(subject, cases[:1]), declared)


def test_a_constant_output_is_remarked(tmp_path):
    report = report_of(Constant(), tmp_path, default_cases(declaration()))
    assert report.passed
    assert report.warnings == (
        "output is constant: nothing was tested; it is the same in every case, whatever the input",
    )
    assert report_of(Affine(), tmp_path, default_cases(declaration())).warnings == ()


@pytest.mark.parametrize("values", [(6e4, 6.5e4, 1e5), (1.0, 2.0, 6.5e4)])
def test_half_inputs_beyond_the_type_are_told(tmp_path, values):
    """Every runtime of such a case gets one verdict, whether it gives NaN or keeps float32 inside."""
    report = report_of(Affine(), tmp_path, inputs(*values), "float16")
    told = [
        w for w in report.warnings if w.startswith("the source itself gives NaN or infinity in float16: x")
    ]
    lost = [result.case for result in report.runtimes[0].results if result.verdict == ILL]
    assert len(told) == len(lost) >= 1
    assert report.passed == (len(lost) == 1)
    for case in lost:
        verdicts = {r.verdict for row in report.runtimes for r in row.results if r.case == case}
        assert verdicts == {ILL}


def test_the_evaluator_warns_nobody(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        report_of(Root(), tmp_path, default_cases(declaration())[:3])
        report_of(Affine(), tmp_path, inputs(6e4, 1e5), "float16")


def test_scores_of_raw_sensors_are_large():
    """What the case is for: attention whose float64 scores reach 1e10."""
    model = small("sliding_window")
    (raw,) = (case for case in default_cases(model.declaration) if case.kind == "raw")
    seen = []
    layer = model.module.layers[0].attention
    hook = layer.qkv.register_forward_hook(lambda module, args, output: seen.append(output.double()))
    try:
        (truth,) = find_truths(Subject(model.declaration, None, model.module), [raw])
    finally:
        hook.remove()
    q, k, _ = seen[0].chunk(3, dim=-1)
    assert (q @ k.transpose(1, 2)).abs().max() > 1e10
    assert truth.bounds["output"].judgeable
    assert not any(c.kind == "raw" for c in default_cases(small("mega", precision="float16").declaration))


def fused_scores(q: np.ndarray, k: np.ndarray, scale: np.float32, exact: bool) -> np.ndarray:
    """Softmax weights of float32 scores whose largest is subtracted after rounding, from products that were not."""
    products = q.astype(np.float64) @ k.astype(np.float64).T * float(scale)
    largest = products.max(-1, keepdims=True) if exact else products.astype(np.float32).max(-1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        weights = np.exp((products - largest).astype(np.float32))
        return weights / weights.sum(-1, keepdims=True)


class OneHead(nn.Module):
    """Attention of one head over its own frames."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x @ x.transpose(1, 2) * 3**-0.5, -1) @ x


def test_a_kernel_that_is_wrong_at_large_scores_is_seen(tmp_path):
    """A stand-in with one fused multiply-add where the subtracted largest score was rounded before."""
    declared = declaration()
    cases = [case for case in default_cases(declared) if case.kind in ("normal", "large", "raw")]
    save(rewrite(trace(OneHead().eval(), declared), declared), tmp_path / "model.onnx", external_data=False)
    subject = Subject(declared, tmp_path / "model.onnx", OneHead())
    truths = find_truths(subject, cases)

    def kernel(exact: bool) -> Spoiled:
        class Kernel(Spoiled):
            def open(self, subject, threads=1):
                session = super().open(subject, threads)
                session.run = lambda given: {
                    "output": np.stack(
                        [fused_scores(x, x, np.float32(3**-0.5), exact) @ x for x in given["x"]]
                    )
                }
                return session

        return Kernel(lambda outputs: outputs)

    right = run_parity(subject, cases, [kernel(exact=True)], truths=truths)
    wrong = run_parity(subject, cases, [kernel(exact=False)], truths=truths)
    assert right.passed, right.reasons
    verdicts = {r.case.split("-")[0]: r.verdict for r in wrong.runtimes[0].results}
    assert verdicts == {"normal": PASS, "large": PASS, "raw": FAIL}


@pytest.mark.parametrize(
    ("options", "arch", "expected"),
    [
        ({"window_size": 5}, "sliding_window", [0, 14, 15, 19]),
        ({"block_size": 6}, "lightning", [0, 17, 18, 19]),
        ({}, "module", [0, 9, 10, 19]),
        ({"window_size": 60}, "attention", [0, 19]),
    ],
)
def test_impulses_stand_at_the_edges_of_what_is_attended(options, arch, expected):
    declared = replace(declaration(), arch=arch, options=options)
    assert edges(declared, 20) == expected
    values = DISTRIBUTIONS["impulse"](np.random.default_rng(0), (1, 20, 3), declared)
    steps = np.abs(values - np.median(values, axis=1, keepdims=True)).min(axis=-1)[0]
    assert sorted(np.argsort(steps)[-len(expected) :]) == expected
