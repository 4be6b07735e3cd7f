"""Bundles in fp8: JavaScript and C++ keep ONNX Runtime from making kernels of int8 of their products."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from javascript import run
from torch import nn

import temport
from temport.exporter.parity.gate import gate
from temport.exporter.parity.serial import runtime_row
from temport.exporter.runtimes.libraries import onnxruntime_library

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products without a bias, over rows on two axes."""
    folder = tmp_path_factory.mktemp("fp8")
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(32, 64, bias=False), nn.ReLU(), nn.Linear(64, 32, bias=False))
    np.save(folder / "own.npy", np.random.default_rng(0).standard_normal((1, 8, 32)).astype(np.float32))
    done = temport.export(
        layers,
        {"x": torch.zeros(1, 8, 32)},
        weights_dtype="fp8",
        activations="fp8",
        calibrate=folder / "own.npy",
        ops="standard",
        runtimes=("onnxruntime_cpu",),
        out=folder / "b",
    )
    assert done.passed
    return done.path


@pytest.mark.parametrize("where", ["node", "web"])
def test_javascript_replays_it(bundle: Path, where: str) -> None:
    done = run(where, bundle, "--replay")
    assert gate([runtime_row(json.loads(done.stdout)["runtimes"][0])])[0] == "pass"


def test_cpp_replays_it(bundle: Path, runner: Path) -> None:
    words = [runner, bundle, "--replay", "--library", onnxruntime_library() or ""]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
