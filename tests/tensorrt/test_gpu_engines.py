"""The engines of `temport bench gpu` are judged: a stand-in runs in place of the engine that a GPU would run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from temport.custom_ops.online_softmax_attention.reference import reference
from temport.exporter import runtimes
from temport.exporter.bench import gpu, gpu_engines
from temport.exporter.bench.gpu_engines import ATTRIBUTES, Outcome, attempt, outcomes
from temport.exporter.bench.gpu_table import table
from temport.exporter.cli import app
from temport.exporter.compilers.compile import compile_model
from temport.exporter.compilers.contract import EngineReport
from temport.exporter.errors import UserError
from temport.exporter.runtimes.contract import Closing
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.tensorrt_engine import EngineRuntime, NotForThisGpu

TARGET = "tensorrt-rtx"


class Session(Closing):
    """The engine's answer: the truth in float16, spoiled."""

    def __init__(self, spoil: Callable[[np.ndarray], np.ndarray]) -> None:
        self.spoil = spoil

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": self.spoil(reference(list(inputs.values()), ATTRIBUTES).astype(np.float16))}


_REPORTS: list[EngineReport] = []


def compiled_once(*arguments: Any) -> EngineReport:
    """Every attempt asks for an engine of the same model, which no stand-in reads."""
    if not _REPORTS:
        _REPORTS.append(compile_model(*arguments))
    return _REPORTS[0]


def with_gpu(monkeypatch: pytest.MonkeyPatch, open_: Callable[[Subject], Session]) -> None:
    """The machine has a GPU, on which `open_` loads the engine."""
    runtime = EngineRuntime("tensorrt_rtx", TARGET, "tensorrt_rtx")
    monkeypatch.setattr(runtime, "unavailable", lambda: None)
    monkeypatch.setattr(runtime, "open", open_)
    monkeypatch.setattr(runtimes, "runtime_named", lambda name: runtime)
    monkeypatch.setattr("temport.exporter.compilers.compile.compile_model", compiled_once)


def raises(error: Exception) -> Any:
    def call(*_: object) -> Any:
        raise error

    return call


def test_a_right_engine_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, lambda subject: Session(lambda y: y))
    found = attempt(TARGET)
    assert found.verdict == "pass" and found.error is not None and found.allowed is not None
    assert 0 < found.error < found.allowed < 0.1 and ", 1 fused; largest error" in str(found)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda y: y * np.float16(1.05), "max abs error .* is above"),
        (lambda y: np.where(np.arange(y.size).reshape(y.shape) == 777, np.float16(np.nan), y), "1 of .* NaN"),
        (lambda y: y[:, 1:], "shape .* is right"),
        (raises(UserError("the engine did not run")), "the run fails: the engine did not run"),
        (raises(RuntimeError("lost device")), "the run fails: lost device"),
    ],
)
def test_a_wrong_engine_fails(spoil: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, lambda subject: Session(spoil))
    found = attempt(TARGET)
    assert found.verdict == "fail" and re.search(reason, found.reason)


def test_an_engine_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without code for this GPU it is absent; with such code it failed."""
    with_gpu(monkeypatch, raises(NotForThisGpu("is for compute capability 80")))
    found = attempt(TARGET)
    assert (found.verdict, found.reason) == ("not run", "is for compute capability 80")
    with_gpu(monkeypatch, raises(RuntimeError("cannot be loaded")))
    assert attempt(TARGET).verdict == "fail"


def test_an_engine_that_is_not_built_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "temport.exporter.compilers.compile.compile_model", raises(UserError("refused the model"))
    )
    assert attempt(TARGET) == Outcome("fail", "refused the model")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("import time; time.sleep(60)", "not finished after 0.2 seconds"),
        ("import os; os._exit(0)", "died with exit status 0: it printed nothing"),
        ("import os; os.abort()", "died with exit status -6"),
        ("raise KeyError('y')", "died with exit status 1: KeyError: 'y'"),
    ],
)
def test_a_process_that_hangs_or_dies_is_a_failure(
    line: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = subprocess.run

    def instead(command: list[str], **options: Any) -> Any:
        return run([sys.executable, "-c", line], **options)

    monkeypatch.setattr(gpu_engines.subprocess, "run", instead)
    monkeypatch.setattr(gpu_engines, "LONGEST", 0.2 if "sleep" in line else 60)
    for found in outcomes().values():
        assert found.verdict == "fail" and found.reason.startswith(reason)


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.05, 1)])
def test_the_command_fails_with_its_engine(
    factor: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulated_library: Path
) -> None:
    """Everything but the proofs and times of kernels, which have tests of their own."""
    with_gpu(monkeypatch, lambda subject: Session(lambda y: y * np.float16(factor)))
    run = gpu.run
    monkeypatch.setattr(gpu, "build", lambda out, capability: emulated_library)
    monkeypatch.setattr(gpu, "checks", lambda *a: iter(()))
    monkeypatch.setattr(gpu, "plan", list)
    monkeypatch.setattr(gpu, "outcomes", lambda: {TARGET: attempt(TARGET)})
    monkeypatch.setattr(gpu, "run", lambda out, say: run(out, "cpu", say=say))
    out = tmp_path / "bench.json"
    done = CliRunner().invoke(app, ["bench", "gpu", "--out", str(out)])
    assert done.exit_code == code, done.output
    report = json.loads(out.read_text())
    assert table(report) in done.output and (
        "FAILED: tensorrt-rtx engine: max abs error" in done.output
    ) == bool(code)
    assert report["engines"][TARGET]["verdict"] == ("fail" if code else "pass")
