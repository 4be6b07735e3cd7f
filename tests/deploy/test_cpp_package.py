"""The installed CMake package: found by another project, whose program classifies a recorded motion as a stream."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from toolchain import CPP, build_runner, call

from temport.exporter.export import run_export
from temport.exporter.runtimes.libraries import onnxruntime_library

EXAMPLE = Path(__file__).parents[2] / "examples" / "basic_motions.py"


@pytest.fixture(scope="module")
def motions() -> ModuleType:
    spec = importlib.util.spec_from_file_location("basic_motions", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("package")
    call("cmake", "--install", build_runner(), "--prefix", root / "prefix")
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


@pytest.fixture(autouse=True)
def _runtime_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORT_ONNXRUNTIME_LIBRARY", str(onnxruntime_library()))


def fed(program: Path, bundle: Path, classes: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, bundle, classes], input=text, capture_output=True, text=True, check=False)


def csv(frames: np.ndarray, header: str = "") -> str:
    return header + "".join(",".join(map(repr, map(float, frame))) + "\n" for frame in frames)


@pytest.mark.parametrize("factory", ["sliding_window", pytest.param("mega", marks=pytest.mark.thorough)])
def test_the_example_classifies_a_stream(
    program: Path, motions: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, factory: str
) -> None:
    """Same classes as Python at every frame, and after the last frame of a recording the class of the recording."""
    monkeypatch.setattr(motions, "EPOCHS", 4)
    torch.manual_seed(0)
    model = getattr(motions, factory)()
    motions.train(model)
    save_file(model.state_dict(), tmp_path / f"{factory}.safetensors")
    bundle = tmp_path / "bundle"
    asked = motions.request(
        getattr(motions, factory), tmp_path, streaming=True, runtimes=("onnxruntime_cpu",), out=bundle
    )
    assert run_export(asked, Console(quiet=True)).passed

    recordings = motions.recordings("test")[0][::8].numpy()
    expected = np.concatenate([motions.classes_by_frame(bundle, one[None]) for one in recordings])
    assert len(set(expected.ravel())) > 1, "one class for everything would prove little"
    with torch.no_grad():
        whole = model(torch.from_numpy(recordings)).argmax(1).numpy()
    names = {name: index for index, name in enumerate(motions.CLASSES)}
    for frames, by_frame, recording in zip(recordings, expected, whole, strict=True):
        header = ",".join(motions.COLUMNS) + "\n"
        done = fed(program, bundle, ",".join(motions.CLASSES), csv(frames, header))
        assert done.returncode == 0, done.stderr
        found = re.findall(r"^frame \d+ (\w+) score \S+ latency \d+ us$", done.stdout, re.M)
        assert [names[name] for name in found] == by_frame.tolist()
        assert names[found[motions.STEPS - 1]] == recording


def test_what_it_cannot_read_gets_a_sentence(
    program: Path, exported: Callable[[str], Path], stepped: Callable[[str], Path]
) -> None:
    classes = ",".join(f"c{i}" for i in range(16))
    for bundle, names, text, sentence in (
        (stepped("mega"), classes, "1,2,3\n", "line 1 is not 8 numbers"),
        (stepped("mega"), classes, "a,b\n1,2,3,4,5,6,7,x\n", "line 2 is not 8 numbers"),
        (stepped("mega"), "a,b", "", "the model scores 16 classes and 2 are named"),
        (exported("mega"), classes, "", "takes whole sequences; a stream needs a step model"),
    ):
        done = fed(program, bundle, names, text)
        assert done.returncode == 2 and sentence in done.stderr and done.stderr.count("\n") == 1
    frames = np.ones((3, 8))
    frames[1, 5] = np.nan
    done = fed(program, stepped("mega"), classes, csv(frames))
    assert done.returncode == 0 and done.stdout.count("frame ") == 2
    assert done.stderr.startswith("line 2: the frame is refused: frame holds NaN in row 0 of the batch")
