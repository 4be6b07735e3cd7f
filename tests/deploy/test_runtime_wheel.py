"""The wheel of temport-runtime as it would be published, in a bare environment: from Python, C++ and a shell."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toolchain import CPP, call, exclusive

import temport

RUNTIME = Path(__file__).parents[2] / "deploy" / "runtime"
LOADED = """
import json, sys, numpy, temport
loaded = temport.load(sys.argv[1])
outputs = loaded({name: numpy.zeros([d if isinstance(d, int) else d[0] for d in shape], dtype)
                  for name, (dtype, shape) in loaded.inputs.items()})
outputs = {name: array.tolist() for name, array in outputs.items()}
print(json.dumps([loaded.kernels, outputs, temport.get_library_path(), 'torch' in sys.modules]))
"""

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel and what it depends on."""
    root = tmp_path_factory.mktemp("runtime")
    with exclusive("wheel"):
        call(RUNTIME / "build_wheels.sh", "x86_64", root / "dist")
    (wheel,) = (root / "dist").iterdir()
    assert wheel.name.startswith(f"temport_runtime-{temport.__version__}-py3-none-manylinux_2_")
    call(sys.executable, "-m", "venv", root / "venv")
    call(root / "venv" / "bin" / "pip", "install", "--quiet", wheel)
    return root / "venv"


def test_python_loads_a_bundle_without_torch(bare: Path, exported: Callable[[str], Path]) -> None:
    bundle = exported("mega")
    kernels, outputs, library, torch = json.loads(call(bare / "bin" / "python", "-c", LOADED, bundle))
    assert kernels.startswith("native kernels") and Path(library).is_relative_to(bare) and not torch
    here = temport.load(bundle)
    zeros = {
        name: np.zeros([d if isinstance(d, int) else d[0] for d in shape], dtype)
        for name, (dtype, shape) in here.inputs.items()
    }
    for name, expected in here(zeros).items():
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-5)


def test_the_runner_agrees_with_the_recorded_numbers(bare: Path, exported: Callable[[str], Path]) -> None:
    onnxruntime = next(bare.glob("lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*"))
    ops = next(bare.glob("lib/python3*/site-packages/temport/custom_ops/native/libtemport_ops.so"))
    report = json.loads(
        call(
            bare / "bin" / "temport-run", exported("mega"), "--replay", "--library", onnxruntime, "--ops", ops
        )
    )
    (row,) = report["runtimes"]
    assert row["verdict"] == "pass" and row["path"].startswith("native kernels")


def test_another_project_finds_the_library(
    bare: Path, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    call("cmake", "-S", CPP / "examples" / "stream", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={bare}")
    call("cmake", "--build", tmp_path)
    assert f"temport_DIR:PATH={bare}/lib/cmake/temport" in (tmp_path / "CMakeCache.txt").read_text()
    needed = call("readelf", "-d", tmp_path / "stream")
    assert "[libtemport.so]" in needed
