"""Engines run in a process of their own: one that hangs or crashes is a failed row, and the command goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from temport.exporter.errors import UserError
from temport.exporter.parity.cases import Case
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.result import FAIL, NOT_RUN, PASS, Bound, RuntimeRow
from temport.exporter.parity.run import run_runtime
from temport.exporter.runtimes import apart, runtime_named
from temport.exporter.runtimes.apart import Apart, OtherProcess
from temport.exporter.runtimes.tensorrt_engine import NotForThisGpu
from tests.tensorrt.misbehaving_engine import INPUTS, SUBJECT, StandIn, answering


def row(load: str = "", second_run: str = "", **limits: float) -> RuntimeRow:
    truths = [
        Truth(
            Case(f"case{i}", "normal", INPUTS),
            {"y": np.array([2.0, 4.0])},
            {"y": Bound(4.0, 0.0, 0.0, 1.0, True)},
        )
        for i in range(3)
    ]
    return run_runtime(SUBJECT, Apart(StandIn(load, second_run), **limits), truths)


def test_the_engines_of_the_report_are_apart() -> None:
    assert all(isinstance(runtime_named(name), Apart) for name in ("tensorrt", "tensorrt_rtx"))


def test_arrays_come_back_and_the_process_goes() -> None:
    with Apart(StandIn()).open(SUBJECT) as session:
        assert (session.path, session.version) == ("stand-in", "1")
        for x in (INPUTS["x"], np.array([3], np.int64), np.ones((0, 2), ml_dtypes.bfloat16)):
            outputs = session.run({"x": x})
            np.testing.assert_array_equal(outputs["y"], x + x, strict=True)
        process = int(outputs["process"])
    assert process != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("hang", "TimeoutError: it did not run within 1.5 seconds, and its process was ended"),
        ("abort", "RuntimeError: its process died of signal SIGABRT"),
        ("exit", "RuntimeError: its process died of exit status 7"),
    ],
)
def test_a_run_that_does_not_come_back_fails_it_and_all_after_it(how: str, sentence: str) -> None:
    found = row(second_run=how, running=1.5)
    assert found.verdict == FAIL
    assert [result.verdict for result in found.results] == [PASS, FAIL, FAIL]
    assert {r.outputs["y"].reason for r in found.results[1:]} == {f"the run fails: {sentence}"}


def test_a_run_that_raises_leaves_the_others() -> None:
    found = row(second_run="unportable")
    assert [result.verdict for result in found.results] == [PASS, FAIL, PASS]
    assert found.results[1].outputs["y"].reason == "the run fails: RuntimeError: Unportable: lost device"


@pytest.mark.parametrize(
    ("how", "verdict", "reason"),
    [
        ("hang", FAIL, "the model does not load: TimeoutError: it did not load within 0.5 seconds, and"),
        ("abort", FAIL, "the model does not load: RuntimeError: its process died of signal SIGABRT"),
        ("refuse", NOT_RUN, "is for compute capability 80"),
    ],
)
def test_an_engine_that_does_not_load(how: str, verdict: str, reason: str) -> None:
    limits = {"opening": 0.5} if how == "hang" else {}
    found = row(load=how, **limits)
    assert found.verdict == verdict and found.reason.startswith(reason)


def test_a_hung_process_ends_with_a_caller_that_is_killed() -> None:
    caller = (
        "from temport.exporter.runtimes.apart import Apart\n"
        "from tests.tensorrt.misbehaving_engine import INPUTS, SUBJECT, StandIn\n"
        "session = Apart(StandIn(second_run='hang')).open(SUBJECT)\n"
        "print(session.run(INPUTS)['process'], flush=True)\n"
        "session.run(INPUTS)"
    )
    with subprocess.Popen([sys.executable, "-c", caller], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        hung = Path("/proc") / process.stdout.readline().decode().strip()
        time.sleep(0.5)  # until the second run hangs
        assert hung.is_dir()
        process.kill()
    until = time.monotonic() + 30
    while hung.is_dir() and time.monotonic() < until:
        time.sleep(0.05)
    assert not hung.is_dir()


@pytest.mark.parametrize("answered", [False, True], ids=["before its answer", "after it"])
def test_a_process_whose_caller_closed_ends_in_silence(
    answered: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "CLOSING", 60.0)
    other = OtherProcess(answering)
    while answered and not other._connection.poll(1):
        pass
    other.close()
    assert other._process.exitcode == 0 and capfd.readouterr().err == ""


def test_the_kind_of_a_refusal_is_kept() -> None:
    with pytest.raises(NotForThisGpu) as refusal:
        Apart(StandIn("refuse")).open(SUBJECT)
    assert isinstance(refusal.value, UserError)
