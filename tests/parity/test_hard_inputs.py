"""What generated inputs are there for: ties of peaked scores, several threads, NaN where nothing may see it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from temport.exporter.build import save
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.parity import unseen
from temport.exporter.parity.cases import Case, default_cases
from temport.exporter.parity.oracle import find_truths
from temport.exporter.parity.result import FAIL, PASS, ParityReport
from temport.exporter.parity.run import SEVERAL_THREADS, run_parity
from temport.exporter.parity.unseen import find_unseen
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject
from tests.parity.test_parity_gate import ORT, Spoiled
from tests.traces import build


class Attend(nn.Module):
    """Attention of one head."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.softmax(q @ k.mT * 3**-0.5, -1) @ v


def first_of_equals(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A kernel that gives the whole weight of keys of the same largest score to the first of them."""
    scores = q.astype(np.float64) @ k.astype(np.float64).swapaxes(1, 2) * 3**-0.5
    largest = scores.max(-1, keepdims=True)
    later = (scores == largest) & (np.arange(k.shape[1]) != scores.argmax(-1)[..., None])
    weights = np.where(later, 0.0, np.exp(scores - largest))
    return (weights / weights.sum(-1, keepdims=True) @ v).astype(np.float32)


def test_a_kernel_that_is_wrong_where_scores_tie_is_seen(tmp_path: Path) -> None:
    axes = Axis("batch", 2, 2, 2), Axis("seq", 16, 16, 16)
    specs = tuple(TensorSpec(name, "float32", (*axes, 3)) for name in "qkv")
    declared = Declaration("module", {}, specs, (TensorSpec("output", "float32", (*axes, 3)),))
    cases = default_cases(declared)
    save(build(Attend().eval(), declared), tmp_path / "model.onnx", external_data=False)
    subject = Subject(declared, tmp_path / "model.onnx", Attend())

    class Kernel(Spoiled):
        def open(self, subject: Any, threads: int = 1) -> Any:
            session = super().open(subject, threads)
            session.run = lambda given: {"output": first_of_equals(*given.values())}
            return session

    report = run_parity(subject, cases, [Kernel(lambda outputs: outputs), ORT])
    verdicts = [{r.case.split("-")[0]: r.verdict for r in row.results} for row in report.runtimes]
    assert [kind for kind, verdict in verdicts[0].items() if verdict != PASS] == ["peaked"]
    assert set(verdicts[1].values()) == {PASS}


@pytest.mark.parametrize("fault", ["numbers", "loading"])
def test_what_only_several_threads_make_wrong_is_seen(subject, cases, truths, fault: str) -> None:
    class Divided(Spoiled):
        capabilities = replace(ORT.capabilities, threads=True)

        def open(self, subject: Any, threads: int = 1) -> Any:
            session = super().open(subject, threads)
            if threads == 1:
                session.run = ORT.open(subject, 1).run
            elif fault == "loading":
                raise RuntimeError("too many threads")
            return session

    report = run_parity(
        subject, cases[:2], [Divided(lambda o: {"output": o["output"] * (1 + 1e-5)})], truths=truths[:2]
    )
    assert report.verdict == FAIL
    assert f"on {SEVERAL_THREADS} threads: " in report.reasons[0]
    assert [result.verdict for result in report.runtimes[0].results] == [FAIL, PASS]
    assert (
        runtime_named("onnxruntime_native").capabilities.threads and runtime_named("cpp").capabilities.threads
    )


class CalledNative(Spoiled):
    """Function bodies in the row of the native kernels."""

    def open(self, subject: Any, threads: int = 1) -> Any:
        session = super().open(subject, threads)
        type(session).path = "native kernels 0.1.0, avx2"
        return session


def right(outputs: Arrays) -> Arrays:
    return outputs


def of_dms(folder: Path, *settings: str) -> Subject:
    declaration, module, _ = declare(
        "dms", ["hid_dim=8", "n_heads=2", *settings], batch="3", seq="5", memory="7"
    )
    save(build(module, declaration), folder / "model.onnx", external_data=False)
    return Subject(declaration, folder / "model.onnx", module)


def judged(subject: Subject, *runtimes: Any) -> ParityReport:
    cases = default_cases(subject.declaration)[:1]
    return run_parity(subject, cases, runtimes, truths=find_truths(subject, cases))


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ((), "NaN in a row that mask excludes"),
        (("masked=false",), "NaN in the last row of key and value"),
    ],
    ids=["mask", "causal"],
)
def test_native_kernels_that_let_nan_through_fail(
    tmp_path: Path, settings: tuple[str, ...], place: str
) -> None:
    subject = of_dms(tmp_path, *settings)
    report = judged(subject, CalledNative(right), ORT, runtime_named("onnxruntime_native"))
    assert [row.verdict for row in report.runtimes] == [FAIL, PASS, PASS]
    told = f"{place} reaches output, which does not see it"
    assert report.reasons == (f"spoiled: {report.cases[0].name}, output: {told}",)
    assert report.warnings == (f"{told}, in onnxruntime_cpu: a weight of 0 does not stop it",)


def test_only_what_attends_natively_is_held_to_it(tmp_path: Path) -> None:
    """Plain operators attend where each query has a mask of its own."""
    report = judged(of_dms(tmp_path, "mask_shape=B1LM"), CalledNative(right))
    assert report.passed and report.warnings[0].endswith(", in spoiled: a weight of 0 does not stop it")


def test_an_output_that_a_relu_holds_at_zero_is_no_place(tmp_path: Path) -> None:
    """Such elements do not move with any frame, and yet see all of them."""
    options = ["embed_dim=6", "lstm_hidden=5", "num_heads=2", "head_dim=4", "mlp_sizes=12,10"]
    declaration, module, _ = declare("hybrid_mlp", options, batch="2", seq="9")
    (truth,) = find_truths(Subject(declaration, tmp_path, module), default_cases(declaration)[:1])
    assert (truth.outputs["output"] == 0).any()
    assert find_unseen(Subject(declaration, tmp_path, module), truth) is None


class Asleep(nn.Module):
    """An output that sees every frame, and is 0 until their sum is positive."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x.sum(1))


@pytest.mark.parametrize("mended", ["SIZES", "_nudged"])
def test_an_output_that_sleeps_in_this_case_is_no_place(
    mended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small numbers in one frame of many do not wake it, numbers everywhere do: each of two questions tells."""
    if mended == "SIZES":  # then what answers is asked with other numbers everywhere
        monkeypatch.setattr(unseen, "_nudged", lambda inputs: {"x": -inputs["x"]})
    else:
        monkeypatch.setattr(unseen, "SIZES", (1.0,))
    axes = Axis("batch", 1, 1, 1), Axis("seq", 20, 20, 20)
    outputs = (TensorSpec("output", "float32", (axes[0], 3)),)
    declared = Declaration("module", {}, (TensorSpec("x", "float32", (*axes, 3)),), outputs)
    asleep = Case("asleep", "normal", {"x": np.full((1, 20, 3), -1.0, np.float32)})
    subject = Subject(declared, tmp_path, Asleep())
    (truth,) = find_truths(subject, [asleep])
    assert find_unseen(subject, truth) is None


def test_frames_that_left_the_window_are_not_seen(subject, cases, truths) -> None:
    """Two windows of 5 reach 9 frames back; torch multiplies the frames before by 0, native kernels read none."""
    native = runtime_named("onnxruntime_native")
    report = run_parity(
        subject, cases[:1], [runtime_named("torch_float32"), native, CalledNative(right)], truths=truths[:1]
    )
    told = "NaN in the first row of state_sequence reaches output, which does not see it"
    assert [row.verdict for row in report.runtimes] == [PASS, PASS, FAIL]
    assert report.warnings == (f"{told}, in torch_float32: a weight of 0 does not stop it",)
    everything = replace(subject, module=None)
    assert run_parity(everything, cases[:1], [ORT], truths=truths[:1]).warnings == ()
