"""The installed CMake package: found by another project, whose program classifies a CSV stream."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from toolchain import CPP, build, call

from exporter.runtimes.libraries import onnxruntime_library


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("package")
    call("cmake", "--install", build("test"), "--prefix", root / "prefix")
    call(
        "cmake",
        "-S",
        CPP / "examples" / "stream",
        "-B",
        root / "build",
        f"-DCMAKE_PREFIX_PATH={root / 'prefix'}",
    )
    call("cmake", "--build", root / "build")
    return root / "build" / "stream"


def test_the_example_classifies_a_stream(stream: Path, exported: Callable[[str], Path]) -> None:
    bundle = exported("mega")
    frames = np.random.default_rng(1).standard_normal((30, 8)).astype(np.float32)
    rows = "\n".join(",".join(map(repr, map(float, frame))) for frame in frames)
    command = [str(stream), str(bundle), str(onnxruntime_library())]
    done = subprocess.run(
        command, input=f"a,b,c,d,e,f,g,h\n{rows}\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    classes = [
        int(found)
        for found in re.findall(r"^frame \d+ class (\d+) score \S+ latency \d+ us$", done.stdout, re.M)
    ]

    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    padded = np.concatenate([np.repeat(frames[:1], 11, axis=0), frames])
    windows = np.stack([padded[i : i + 12] for i in range(30)])
    expected = [int(session.run(None, {"state_sequence": window[None]})[0].argmax()) for window in windows]
    assert classes == expected


def test_a_bad_line_gets_a_sentence(stream: Path, exported: Callable[[str], Path]) -> None:
    command = [str(stream), str(exported("mega")), str(onnxruntime_library())]
    done = subprocess.run(command, input="1,2,3\n", capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: line 1 is not 8 numbers\n"
