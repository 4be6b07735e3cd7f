"""A decision transformer of tests/trials, frame by frame: the gate in every runtime, and streams of padded episodes."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import temport
from temport.exporter.export import run_export
from temport.exporter.request import ExportRequest
from tests.streaming_graph.trial_answers import TRIAL_ANSWERS

SOURCE = Path(__file__).parents[1] / "trials" / "decision_transformer.py"
FRAMES, PADDED = 16, 3


@pytest.mark.thorough
def test_a_decision_transformer_streams_in_every_runtime(tmp_path: Path) -> None:
    (answer,) = (a for a in TRIAL_ANSWERS if a.file == "decision_transformer")
    exported = run_export(
        ExportRequest(
            module=f"{SOURCE}:make",
            shapes=answer.shapes,
            seq=str(FRAMES),
            batch="1:2:4",
            streaming=True,
            target="native",
            out=tmp_path / "bundle",
        ),
        Console(quiet=True),
    )
    assert exported.passed, exported.report.reasons
    ran = {row.name for row in exported.report.runtimes if row.verdict == "pass"}
    assert {"onnxruntime_cpu", "onnxruntime_native", "openvino", "native_engine", "onnx_reference"} <= ran

    trial = runpy.run_path(str(SOURCE))
    torch.manual_seed(0)
    model = trial["make"]().eval()
    states, actions, returns, when, valid = (x.numpy() for x in trial["example"](2, FRAMES))
    valid[0, :PADDED] = False
    names = ("states", "actions", "returns", "timesteps", "valid")
    given = dict(zip(names, (states, actions, returns, when, valid), strict=True))
    # what is padded changes nothing: the first episode is the module on the frames behind that
    with torch.no_grad():
        right = [
            [
                y[0].numpy()
                for y in model(*(torch.from_numpy(x[row : row + 1, first:]) for x in given.values()))
            ]
            for row, first in enumerate((PADDED, 0))
        ]
    for runtime in ("native", "onnxruntime"):
        session = temport.load(exported.path, runtime=runtime)
        stream = session.stream(batch=2)
        for t in range(FRAMES):
            if t == FRAMES // 2:
                saved = [stream.save(row) for row in range(2)]
                stream = session.stream(batch=2)
                for row in range(2):
                    stream.restore(saved[row], row)
            found = stream({name: array[:, t] for name, array in given.items()})
            for row, first in enumerate((PADDED, 0)):
                for name, whole in zip(("output_0", "output_1", "output_2"), right[row], strict=True):
                    if t >= first:
                        np.testing.assert_allclose(found[name][row], whole[t - first], atol=2e-5)
