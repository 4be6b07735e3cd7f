"""`temport bench deploy`: all three contenders run the same inferences, and the ratio is that of their times."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toolchain import build_runner
from typer.testing import CliRunner

from temport.exporter.bench.deploy import BOUND, PLAIN, RUNNER, DeployReport, bound, plain
from temport.exporter.bundle.directory import open_bundle
from temport.exporter.cli import app
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.runtimes.onnxruntime_cpu import OrtSession

Bundles = Callable[[str], Path]


@pytest.mark.parametrize("contender", [plain, bound])
def test_python_runs_the_recorded_stream(stepped: Bundles, contender: Callable) -> None:
    bundle = open_bundle(stepped("sliding_window"))
    loop = contender(bundle, OrtSession(bundle.model_path, "", 1).session)
    truth = read_vectors(bundle.path / "vectors.npz")[0]
    expected, allowed = truth.outputs["output"], truth.bounds["output"].allowed
    assert truth.case.inputs["frame"].shape[0] == 1 and allowed is not None
    for frame in range(expected.shape[1]):
        loop.advance()
        loop.call()
        assert np.abs(loop.output() - expected[:, frame]).max() <= allowed


def test_command(runner: Path, exported: Bundles, stepped: Bundles, tmp_path: Path) -> None:
    counter = build_runner() / "tests" / "temport_allocations"
    for bundle in (exported("mega"), stepped("mega")):
        options = ["--runner", runner, "--rounds", 2, "--frames", 5, "--allocations", counter]
        words = ["bench", "deploy", bundle, *options, "--out", tmp_path / "bench.json"]
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0 and "allocations per inference: 0 ours" in done.output
        written = json.loads((tmp_path / "bench.json").read_text())
        assert all(len(written["medians"][name]) == 2 for name in (RUNNER, PLAIN, BOUND))
        assert written["ratios"].keys() == {PLAIN, BOUND} and written["allocations"]["ours"] == 0
        assert "opening a session with the op library: " in done.output
        assert all(written["opening"][library]["milliseconds"] > 0 for library in ("without", "with"))


def test_ratio_is_taken_within_rounds() -> None:
    medians = {RUNNER: [1.0, 20.0, 3.0], PLAIN: [2.0, 40.0, 3.0], BOUND: [1.0, 1.0, 1.0]}
    assert DeployReport("", "", "", 1, 1, medians, None, {}).ratio(PLAIN) == 0.5
