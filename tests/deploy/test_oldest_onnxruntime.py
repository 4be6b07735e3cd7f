"""The oldest ONNX Runtime that a bundle promises to run in, with the function bodies and with our kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from toolchain import CPP, call, exclusive

from temport.custom_ops.library import library_path

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

STREAM = """
import json, sys
import numpy as np, onnxruntime
bundle, library = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
if library:
    options.register_custom_ops_library(library)
session = onnxruntime.InferenceSession(f"{bundle}/model.onnx", options, providers=["CPUExecutionProvider"])
states = json.load(open(f"{bundle}/manifest.json"))["signature"]["states"]
types = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
shapes = {i.name: (i.shape[1:], types[i.type]) for i in session.get_inputs()}
vectors = np.load(f"{bundle}/vectors.npz")
judged = 0
for case in sorted({key.split("/")[0] for key in vectors}):
    frames = vectors[f"{case}/input/frame"]
    now = {s["input"]: np.zeros((len(frames), *shapes[s["input"]][0]), shapes[s["input"]][1]) for s in states}
    after = {s["input"]: now[s["input"]] if library and s.get("in_place") else now[s["input"]].copy() for s in states}
    outputs = []
    for frame in frames.transpose(1, 0, 2):
        binding = session.io_binding()
        binding.bind_cpu_input("frame", frame.reshape(len(frames), *shapes["frame"][0]))
        for state in states:
            held = after[state["input"]]
            binding.bind_cpu_input(state["input"], now[state["input"]])
            binding.bind_output(state["output"], "cpu", 0, held.dtype, held.shape, held.ctypes.data)
        binding.bind_output("output")
        session.run_with_iobinding(binding)
        outputs.append(binding.copy_outputs_to_cpu()[-1].reshape(len(frames), -1))
        now, after = after, now
    allowed = vectors[f"{case}/bound/output"][0]
    error = np.abs(np.stack(outputs, 1) - vectors[f"{case}/output/output"]).max()
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
            wheels = (f"onnxruntime=={VERSION}", "numpy<2")  # all that it imports
            words = ("--quiet", "--no-deps", "--no-compile", "--target", folder)
            call(sys.executable, "-m", "pip", "install", *words, *wheels)
    return folder


def judge(program: str, bundle: Path, kernels: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, bundle, str(library_path()) if kernels else ""],
        env={**os.environ, "PYTHONPATH": str(installed())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    version, judged = done.stdout.split()
    assert version == VERSION and int(judged) > 0


needs_wheel = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason=f"onnxruntime {VERSION} has no wheel for this Python"
)


def again(*archs: str) -> list[Any]:
    """What others have: each op is in one of them."""
    return [pytest.param(arch, marks=pytest.mark.thorough) for arch in archs]


both_paths = pytest.mark.parametrize("kernels", [False, True], ids=["bodies", "kernels"])


@needs_wheel
@both_paths
@pytest.mark.parametrize("arch", ["sliding_window", *again("mega", "hybrid", "dms"), "lightning"])
def test_a_pruned_model_with_several_bodies_of_an_op(exported, arch: str, kernels: bool) -> None:
    judge(REPLAY, exported(arch), kernels)


@needs_wheel
@both_paths
@pytest.mark.parametrize("arch", [*again("sliding_window", "hybrid"), "mega", "lightning"])
def test_a_stream_whose_caches_are_held_in_place(stepped, arch: str, kernels: bool) -> None:
    """In place with the kernels; a body gets two buffers."""
    judge(STREAM, stepped(arch), kernels)
