"""`--delay`: what looks ahead by a few frames is a stream whose outputs come that late."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import temport
from temport.exporter.bundle.directory import open_bundle
from temport.exporter.errors import UserError
from temport.exporter.export import Exported
from tests.streaming_graph.causal_modules import CASES

FRAMES, LATE = 12, 2


@pytest.fixture(scope="module")
def module() -> nn.Module:
    """Dilated convolutions, the second of them centred."""
    torch.manual_seed(0)
    return CASES["dilated convs with residuals"].build(False).eval()


def export(module: nn.Module, out: Path, delay: int) -> Exported:
    return temport.export(
        module,
        {"input": torch.zeros(1, 9, 3)},
        axes={"input": {1: "seq"}},
        ranges={"seq": 9},
        streaming=True,
        delay=delay,
        runtimes=("onnxruntime_cpu",),
        out=out,
    )


def test_outputs_come_as_late_as_they_must(module: nn.Module, tmp_path: Path) -> None:
    exported = export(module, tmp_path / "bundle", delay=5)
    assert exported.passed, exported.report.reasons
    told = open_bundle(exported.path).declaration.sequences
    assert told is not None and told.delay == LATE and told.begins == (LATE,)
    frames = np.random.default_rng(0).standard_normal((1, FRAMES, 3)).astype(np.float32)
    stream = temport.load(exported.path).stream()
    found = [np.array(stream(frames[:, t : t + 1])) for t in range(FRAMES)]
    with torch.no_grad():
        right = module(torch.from_numpy(frames)).numpy()
    for t in range(LATE, FRAMES):
        assert np.abs(found[t] - right[:, t - LATE]).max() < 1e-5


def test_fewer_frames_than_it_looks_ahead_are_refused(module: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"second.conv.conv .* a delay of 2 frames would make it causal"):
        export(module, tmp_path / "bundle", delay=1)


def test_a_delay_is_one_of_a_stream() -> None:
    with pytest.raises(UserError, match="--delay 1 is not a number of frames of --streaming"):
        temport.export("mega", seq=9, delay=1)
