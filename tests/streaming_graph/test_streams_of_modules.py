"""Modules and files that know nothing of us, exported as streams: proved, run, checked again, or refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from rich.console import Console
from streaming_graph import strangers
from streaming_graph.shortened import shorten_rings
from streaming_graph.step_of import integers, weight
from typer.testing import CliRunner

import temport
from temport.exporter.bundle.directory import open_bundle
from temport.exporter.cli import app
from temport.exporter.errors import UserError
from temport.exporter.export import run_export
from temport.exporter.parity.result import ParityReport
from temport.exporter.parity.serial import read_json
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.report.html import render
from temport.exporter.report.table import print_table
from temport.exporter.request import ExportRequest
from temport.exporter.verify import run_verify

SOURCE = Path(strangers.__file__)
QUIET = Console(quiet=True)
FAST = ("onnxruntime_cpu",)


@pytest.fixture(scope="module")
def policy() -> torch.nn.Module:
    torch.manual_seed(0)
    return strangers.Policy().eval()


@pytest.fixture(scope="module")
def bundle(policy: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module at hand, with a static input and two outputs."""
    exported = temport.export(
        policy,
        {"frames": torch.zeros(2, 9, 4), "goal": torch.zeros(2, 3)},
        axes={"frames": {0: "batch", 1: "seq"}, "goal": {0: "batch"}},
        ranges={"batch": (1, 2, 8), "seq": 9},
        streaming=True,
        rate=60.0,
        runtimes=FAST,
        out=tmp_path_factory.mktemp("policy") / "bundle",
    )
    assert exported.passed, exported.report.reasons
    return exported.path


def test_what_a_bundle_says_of_its_stream(bundle: Path) -> None:
    declaration = open_bundle(bundle).declaration
    told = declaration.sequences
    assert told is not None and told.begins == (0, 0) and told.delay == 0
    assert [spec.name for spec in declaration.inputs] == ["frames", "goal", "state.memory.hidden"]
    assert any("goal is a static input" in note for note in declaration.notes)
    assert any("exact, however long" in note for note in declaration.notes)


def test_what_the_manifest_and_the_report_say_of_a_stream(bundle: Path) -> None:
    entry = open_bundle(bundle).manifest["stream"]
    assert entry == {"reset": "zeros", "static": ["goal"], "delay": 0, "rate": 60, "warm_up": None}
    report = read_json(bundle / "report.json")
    row, flops = report.stream, report.flops["exported"]
    assert row is not None and flops is not None and row.window is not None
    # the window repeats the recurrence; what is read of its last frame alone it computes once
    assert row.length == 9 and sum(flops.values()) < row.window < 9 * sum(flops.values())
    said = " ".join(table_of(report).split())
    assert "stream: 60 frames per second; starts anew where every state is zeros; static: goal;" in said
    assert "MFLOP the window of 9 frames" in said and "MFLOP the window of 9 frames" in render(report)


@pytest.mark.parametrize("rate", [0.0, -60.0, math.nan, math.inf])
def test_a_rate_is_frames_per_second(policy: torch.nn.Module, rate: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a number of frames per second of --streaming"):
        temport.export(
            policy, {"frames": torch.zeros(2, 9, 4)}, streaming=True, rate=rate, out=tmp_path / "b"
        )


def table_of(report: ParityReport) -> str:
    console = Console(width=400)
    with console.capture() as shown:
        print_table(report, console)
    return shown.get()


def test_a_stream_gives_what_the_module_gives(policy: torch.nn.Module, bundle: Path) -> None:
    """Every frame and every prefix, through a restore in the middle and a reset of one of two streams."""
    rng = np.random.default_rng(1)
    frames, goal = rng.standard_normal((2, 30, 4), np.float32), rng.standard_normal((2, 3), np.float32)
    stream = temport.load(bundle).stream(batch=2)
    with torch.no_grad():
        for t in range(20):
            given = stream({"frames": frames[:, t], "goal": goal})
            expected = policy(torch.from_numpy(frames[:, : t + 1]), torch.from_numpy(goal))
            np.testing.assert_allclose(given["action"], expected["action"], atol=1e-5)
            np.testing.assert_allclose(given["value"], expected["value"][:, -1], atol=1e-5)
        saved = stream.save(1)
        stream.reset(1)
        again = stream({"frames": frames[:, 20], "goal": goal})["action"]
        other = temport.load(bundle).stream(batch=1)
        other.restore(saved)
        went_on = other({"frames": frames[1:, 20], "goal": goal[1:]})["action"]
        whole, anew = (
            policy(torch.from_numpy(frames[:, start:21]), torch.from_numpy(goal))["action"]
            for start in (0, 20)
        )
    np.testing.assert_allclose(again, torch.stack([whole[0], anew[1]]), atol=1e-5)
    np.testing.assert_allclose(went_on, whole[1:], atol=1e-5)
    with pytest.raises(UserError, match="a frame is frames, goal; given was frames"):
        stream(frames[:, 0])


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A factory, with a horizon and a table of positions."""
    request = ExportRequest(
        module=f"{SOURCE}:Detector",
        shapes=("frames=batch,seq,4",),
        seq="6",
        streaming=True,
        runtimes=FAST,
        out=tmp_path_factory.mktemp("detector") / "bundle",
    )
    exported = run_export(request, QUIET)
    assert exported.passed, exported.report.reasons
    return exported.path


def test_a_horizon_and_a_table_are_told(detector: Path) -> None:
    declaration = open_bundle(detector).declaration
    assert declaration.horizon == 6
    (note,) = (n for n in declaration.notes if n.startswith("streaming is"))
    assert "exact for the first 6 frames; from then on with a window of 6 frames" in note
    assert "after 30 frames the stream has ended, as the table of its positions has" in note
    assert open_bundle(detector).manifest["stream"]["frames"] == 30
    assert "ends after 30 frames" in table_of(read_json(detector / "report.json"))


def test_a_bundle_is_made_and_proved_again(detector: Path) -> None:
    source = f"{SOURCE}:Detector"
    assert run_verify(detector, source, QUIET)
    assert run_parity_of_bundle(detector, FAST, source=source, console=QUIET)
    assert run_parity_of_bundle(detector, FAST, console=QUIET)


def test_a_ring_that_is_wrong_fails_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report names the output and the first wrong frame."""
    shorten_rings(monkeypatch)
    request = ExportRequest(
        onnx=written(tmp_path), streaming=True, runtimes=FAST, out=tmp_path / "wrong", seq="5"
    )
    report = run_export(request, QUIET).report
    (row,) = (row for row in report.runtimes if row.name == FAST[0])
    assert not report.passed and row.divergence is not None
    assert row.divergence.tensor == "y" and "frame 1 of" in row.divergence.explanation


def written(folder: Path) -> Path:
    """A file that was made elsewhere: a causal convolution, and the frame before last."""
    text = """<ir_version: 9, opset_import: ["" : 18]> f (float[batch, seq, 4] x) => (float[batch, 4] y) {
        t = Transpose <perm = [0, 2, 1]> (x) c = Conv <pads = [2, 0]> (t, w) d = Slice (c, start, stop, axis)
        y = Squeeze (d, axis)}"""
    model = onnx.parser.parse_model(text)
    weights = {"w": weight(4, 4, 3), "start": integers(-2), "stop": integers(-1), "axis": integers(2)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in weights.items())
    onnx.save(model, folder / "elsewhere.onnx")
    return folder / "elsewhere.onnx"


def test_a_file_from_elsewhere_streams(tmp_path: Path) -> None:
    request = ExportRequest(
        onnx=written(tmp_path), streaming=True, runtimes=FAST, out=tmp_path / "right", seq="5"
    )
    exported = run_export(request, QUIET)
    assert exported.passed, exported.report.reasons
    told = open_bundle(exported.path).declaration
    assert told.sequences is not None and told.sequences.begins == (1,)
    assert any("y is zero for the first 1 frame," in note for note in told.notes)


@pytest.mark.parametrize(
    "factory, sentence",
    [
        (
            "Tagger",
            "layer encoder (LSTM) runs backwards too (bidirectional), from the last frame on; no delay makes it "
            "causal",
        ),
        (
            "Smoother",
            "layer body.0 (Conv) needs the frames that come after, and stands in zeros for those after the last; "
            "a delay of 2 frames would make it causal",
        ),
    ],
)
def test_what_is_not_causal_is_one_sentence(factory: str, sentence: str, tmp_path: Path) -> None:
    words = ["export", "--module", f"{SOURCE}:{factory}", "--shape", "frames=batch,seq,4", "--streaming"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert f"the model cannot run frame by frame: {sentence}" in " ".join(result.stderr.split())
