"""The oldest ONNX Runtime that a bundle promises to run in, with the function bodies and with our kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from toolchain import CPP, call, exclusive

from custom_ops import library_path

VERSION = "1.17.3"
REPLAY = """
import sys
import numpy as np, onnxruntime
bundle, library = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
if library:
    options.register_custom_ops_library(library)
session = onnxruntime.InferenceSession(f"{bundle}/model.onnx", options, providers=["CPUExecutionProvider"])
vectors = np.load(f"{bundle}/vectors.npz")
judged = 0
for case in sorted({key.split("/")[0] for key in vectors}):
    inputs = {i.name: vectors[f"{case}/input/{i.name}"] for i in session.get_inputs()}
    for output, value in zip(session.get_outputs(), session.run(None, inputs)):
        allowed = vectors[f"{case}/bound/{output.name}"][0]
        error = np.abs(value - vectors[f"{case}/output/{output.name}"]).max()
        assert np.isnan(allowed) or error <= allowed, (case, error, allowed)
        judged += not np.isnan(allowed)
print(onnxruntime.__version__, judged)
"""


@cache
def installed() -> Path:
    """The runtime in a folder of its own, put there once."""
    folder = CPP.parents[1] / "build" / f"onnxruntime-{VERSION}"
    with exclusive():
        if not (folder / "onnxruntime").is_dir():
            wheels = (f"onnxruntime=={VERSION}", "numpy<2")
            call(sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, *wheels)
    return folder


@pytest.mark.skipif(sys.version_info >= (3, 13), reason=f"onnxruntime {VERSION} has no wheel for this Python")
@pytest.mark.parametrize("kernels", [False, True], ids=["bodies", "kernels"])
@pytest.mark.parametrize("arch", ["sliding_window", "mega", "lightning", "hybrid", "dms"])
def test_a_pruned_model_with_several_bodies_of_an_op(exported, arch: str, kernels: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REPLAY, exported(arch), str(library_path()) if kernels else ""],
        env={**os.environ, "PYTHONPATH": str(installed())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    version, judged = done.stdout.split()
    assert version == VERSION and int(judged) > 0
