"""Two files for Polygraphy users: a command line and the script it needs to repeat the bundle's own comparison."""

from __future__ import annotations

import shlex
from pathlib import Path

from exporter.compilers.profiles import profile
from exporter.declaration import Declaration

SCRIPT, COMMAND = "polygraphy_vectors.py", "polygraphy.sh"
_TEMPLATE = Path(__file__).with_name("polygraphy_vectors.py.template")
_HEADER = """#!/bin/sh
# Repeats this bundle's comparison: ONNX Runtime and TensorRT, each against the float64 truth within its bound.
# TensorRT for RTX instead of TensorRT: POLYGRAPHY_USE_TENSORRT_RTX=1 sh polygraphy.sh
cd "$(dirname "$0")" || exit 1
"""


def command(declaration: Declaration) -> list[str]:
    """The `polygraphy run` command, to be started in the bundle directory."""
    arguments = ["polygraphy", "run", "model.onnx", "--onnxrt", "--trt", "--data-loader-script", SCRIPT]
    arguments += ["--compare-func-script", SCRIPT]
    bounds = profile(declaration)
    for bound in ("min", "opt", "max"):
        shapes = [f"{name}:{shape[bound]}".replace(" ", "") for name, shape in bounds.items()]
        arguments += [f"--trt-{bound}-shapes", *shapes] if shapes else []
    return arguments


def write_polygraphy(directory: Path, declaration: Declaration) -> None:
    """Write `polygraphy.sh` and `polygraphy_vectors.py` beside `model.onnx` and `vectors.npz`."""
    (directory / SCRIPT).write_text(_TEMPLATE.read_text())
    # further arguments of the user come last: "$@"
    (directory / COMMAND).write_text(f'{_HEADER}exec {shlex.join(command(declaration))} "$@"\n')
