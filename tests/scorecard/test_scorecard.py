"""`temport scorecard`: what it measures of a runtime, whom it times, and what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.cli import app
from temport.exporter.errors import UserError
from temport.exporter.parity.result import FAIL, NOT_RUN, PASS
from temport.exporter.progress import Progress
from temport.exporter.runtimes import runtime_named
from temport.exporter.scorecard import run as run_module
from temport.exporter.scorecard.allocations import built, per_run
from temport.exporter.scorecard.card import ENOUGH, Scorecard, Speed, of_json, read_card, to_json
from temport.exporter.scorecard.contenders import Program
from temport.exporter.scorecard.files import add_to_trend
from temport.exporter.scorecard.markdown import markdown
from temport.exporter.scorecard.measure import TURNS, measure
from temport.exporter.scorecard.page import page
from temport.exporter.scorecard.run import scorecard, task_of
from temport.exporter.scorecard.worker import measured

QUIET = Progress(Console(quiet=True))


def command(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["scorecard", *map(str, words)])
    return done.exit_code, done.output


def test_a_bundle_becomes_a_card(window: Path, tmp_path: Path) -> None:
    """In processes of their own; one line of the trend per run, and the JSON reads back as it was."""
    out, trend = tmp_path / "card", tmp_path / "trend.jsonl"
    for _ in range(2):
        code, text = command(window, "--keep-verdicts", "--seconds", "0.02", "--out", out, "--trend", trend)
        assert code == 0, text
    assert "tensorrt not run: " in text and "parity pass" in text
    card = read_card(out / "scorecard.json")
    assert of_json(to_json(card)) == card
    assert card.run == "one inference of state_sequence float32 [1, 9, 6]"
    assert (card.state, card.digest) == (0, open_bundle(window).digest)
    timed, absent = card.rows
    assert (timed.name, timed.verdict, absent.verdict) == ("onnxruntime_cpu", PASS, NOT_RUN)
    assert timed.speed is not None and timed.speed.runs >= TURNS and absent.speed is None
    assert timed.model == (window / "model.onnx").stat().st_size
    assert timed.libraries and timed.libraries > 2**20 and timed.memory and timed.load
    assert timed.allocations is not None and timed.allocations > 0
    lines = [json.loads(line) for line in trend.read_text().splitlines()]
    assert [line["digest"] for line in lines] == [card.digest] * 2
    assert lines[1]["rows"][0]["p50"] == timed.speed.p50
    html = (out / "scorecard.html").read_text()
    assert "<svg" in html and "<script" not in html and "tensorrt not run" in html
    assert "| onnxruntime\\_cpu | pass |" in (out / "scorecard.md").read_text()


def test_a_frame_is_timed_in_a_warm_stream(step: Path) -> None:
    """The state that the timed call reads is the one after many frames, in sessions of single frames and in those
    that keep the state themselves.
    """
    task = task_of(open_bundle(step), None, None)
    assert set(task.state) and not any(array.any() for array in task.state.values())
    talking = measured(replace(task, runtime="onnxruntime_cpu"))
    weight = talking.send(None)
    assert weight.model == (step / "model.onnx").stat().st_size and weight.allocations is None
    seconds = talking.send(0.01)
    assert len(seconds) >= 1 and all(s > 0 for s in seconds)
    talking.close()


def test_what_is_timed_computes_the_right_frame(step: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prepared call gives what the recorded stream has at that frame."""
    from temport.exporter.parity.vectors import read_vectors
    from temport.exporter.scorecard import worker

    bundle = open_bundle(step)
    task = task_of(bundle, None, None)
    runtime = runtime_named("onnxruntime_cpu")
    truth = read_vectors(step / "vectors.npz")[0]
    with runtime.open(worker._subject(bundle, None), 1) as session:
        monkeypatch.setattr(worker, "WARM_FRAMES", 5)
        found = session.prepared(worker.feed_of(bundle.declaration, runtime, session, task))()
    np.testing.assert_allclose(np.asarray(found), truth.outputs["output"][:, 5], atol=1e-4)


def test_what_is_wrong_is_not_timed(window: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = run_module._kept

    def spoiled(*given: Any) -> Any:
        report = kept(*given)
        rows = [
            replace(row, verdict=FAIL, reason="it is wrong") if row.results else row
            for row in report.runtimes
        ]
        return replace(report, runtimes=tuple(rows), verdict=FAIL)

    monkeypatch.setattr(run_module, "_kept", spoiled)
    card = scorecard(open_bundle(window), (), (), QUIET, seconds=0.02, keep_verdicts=True)
    assert not card.passed
    assert (card.rows[0].speed, card.rows[0].reason) == (None, "it is wrong")
    assert "not timed: what is wrong is not timed" in page(card) and "it is wrong" in markdown(card)


def test_a_row_that_the_report_does_not_have_is_refused(window: Path) -> None:
    code, text = command(window, "--keep-verdicts", "--runtime", "openvino")
    assert code == 2 and "has no row 'openvino'" in text and "leave --keep-verdicts out" in text


@dataclass
class Fake:
    """Notes who runs when; `fails` says where it raises."""

    name: str
    log: list[str]
    fails: str = ""
    parts: int = TURNS
    spent: list[float] = field(default_factory=list)

    def begin(self) -> dict[str, Any]:
        if self.fails == "begin":
            raise UserError("it does not load")
        return {"load": 1.0}

    def sample(self, seconds: float) -> None:
        if self.fails == "sample" and self.spent:
            raise RuntimeError("its process died of signal SIGSEGV")
        self.spent.append(seconds)
        self.log.append(self.name)

    def speed(self) -> Speed:
        return Speed.of([1e-3, 2e-3])

    def close(self) -> None:
        self.log.append(f"{self.name} closed")


def test_contenders_take_turns_and_failures_stay_their_own() -> None:
    log: list[str] = []
    fakes = {
        "a": Fake("a", log),
        "b": Fake("b", log, parts=4),
        "none": Fake("none", log, "begin"),
        "dies": Fake("dies", log, "sample"),
    }
    found = measure(fakes, 2.0, QUIET)
    assert {name: of.untimed for name, of in found.items()} == {
        "a": "",
        "b": "",
        "none": "it does not load",
        "dies": "RuntimeError: its process died of signal SIGSEGV",
    }
    assert found["a"].speed and not found["dies"].speed and found["dies"].fields == {"load": 1.0}
    assert sum(fakes["a"].spent) == pytest.approx(2) and sum(fakes["b"].spent) == pytest.approx(2)
    assert log.count("a") == TURNS and log.count("b") == 4
    assert log[:3] == ["a", "b", "dies"] and log.index("b", 2) > 5, "the turns of b lie apart"
    assert {f"{name} closed" for name in fakes} <= set(log)


def test_one_in_a_thousand_is_told_of_a_thousand() -> None:
    few = Speed.of([1e-3] * (ENOUGH - 1))
    enough = Speed.of([1e-3] * (ENOUGH - 3) + [5e-3, 6e-3, 7e-3])
    assert few.p99_9 is None and few.longest == 1e-3
    assert enough.p50 == 1e-3 and enough.p99_9 == 6e-3 and enough.longest == 7e-3


def test_a_program_tells_its_own_times(tmp_path: Path) -> None:
    """Medians over its runs; fewer frames than a thousand in one run have no 99.9 %."""
    asked: list[int] = []

    def run(bundle: Path, options: Any) -> dict[str, Any]:
        frames = int(options[options.index("--frames") + 1])
        asked.append(frames)
        latency = {"frames": frames, "p50": 200.0, "p99_9": 300.0 + len(asked), "max": 400.0}
        latency["histogram"] = {"edges": [100.0, 200.0, 300.0], "counts": [10, 30]}
        told = {"path": "here", "runner": "fake 1", "runtime": "none", "version": "1", "machine": "arm"}
        return told | {"latency": latency, "process": {"load": 0.5, "libraries": 7}}

    program = Program(run, tmp_path)
    fields = program.begin()
    assert (fields["load"], fields["libraries"], fields["memory"], fields["machine"]) == (0.5, 7, None, "arm")
    for _ in range(3):
        program.sample(0.5)
    assert asked[1:] == [2500] * 3
    speed = program.speed()
    assert speed.quantiles == pytest.approx((2e-4, 2e-4, 2e-4, 3e-4, 3.03e-4, 4e-4)) and speed.p99_9


def test_the_quantiles_of_a_program_are_in_order(tmp_path: Path) -> None:
    """All its times are in one bin, whose edge lies beyond its median and its longest."""
    latency = {"frames": 2000, "p50": 150.0, "p99_9": 160.0, "max": 170.0}
    latency["histogram"] = {"edges": [100.0, 200.0], "counts": [2000]}
    told = {"path": "", "runner": "fake 1", "runtime": "none", "version": "1", "latency": latency}
    program = Program(lambda *_: told, tmp_path)
    program.begin()
    program.sample(0.1)
    quantiles = program.speed().quantiles
    assert quantiles == pytest.approx((1.5e-4, 1.5e-4, 1.5e-4, 1.6e-4, 1.6e-4, 1.7e-4))


def test_a_line_of_a_trend_is_a_line_of_its_own(card: Scorecard, tmp_path: Path) -> None:
    """Behind what a run left that was killed while it wrote."""
    trend = tmp_path / "trend.jsonl"
    trend.write_text('{"time": 1}\n{"time": 2, "bun')
    for _ in range(2):
        add_to_trend(card, trend)
    lines = trend.read_text().splitlines()
    assert len(lines) == 4 and [json.loads(line)["bundle"] for line in lines[2:]] == ["bundle", "bundle"]


COUNTED = """
import ctypes, sys
from pathlib import Path
from temport.exporter.scorecard.allocations import per_run
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def call():
    for _ in range(int(sys.argv[2])):
        libc.free(libc.malloc(ctypes.c_size_t(1 << 20)))
call()
print(per_run(call, Path(sys.argv[1])) - per_run(lambda: None, Path(sys.argv[1])))
"""


def test_allocations_are_not_known_where_the_library_is_not_in_front(tmp_path: Path) -> None:
    """The loader of this process was not asked to put it there."""
    library = built(tmp_path)
    assert library is not None and per_run(lambda: None, library) is None


def test_allocations_are_counted(tmp_path: Path) -> None:
    library = built(tmp_path)
    assert library is not None
    for count in (0, 3):
        told = subprocess.run(
            [sys.executable, "-c", COUNTED, library, str(count)],
            env=os.environ | {"LD_PRELOAD": str(library)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert count <= float(told.stdout) < count + 0.5, told.stdout


@pytest.mark.parametrize("spoil", [lambda d: d.pop("digest"), lambda d: d["rows"][0].update(share=-1.0)])
def test_another_file_is_no_scorecard(card: Scorecard, spoil: Callable[[Any], Any], tmp_path: Path) -> None:
    data = to_json(card)
    spoil(data)
    path = tmp_path / "scorecard.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="cannot be read as a scorecard: at "):
        read_card(path)
