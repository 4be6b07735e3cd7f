"""Two files for Polygraphy users: command lines and the script they need to repeat the bundle's own comparison.

The engine is loaded as it lies in the bundle: one that Polygraphy built from `model.onnx` would be another engine.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from temport.exporter.compilers.contract import EngineReport
from temport.exporter.declare.declaration import Declaration

SCRIPT, COMMAND = "polygraphy_vectors.py", "polygraphy.sh"
_TEMPLATE = Path(__file__).with_name("polygraphy_vectors.py.template")
_RUNNERS = {"tensorrt-rtx": "POLYGRAPHY_USE_TENSORRT_RTX=1 polygraphy", "tensorrt": "polygraphy"}
_WITH_ONNX_RUNTIME = """#!/bin/sh
# Repeats this bundle's comparison on a machine with a GPU: ONNX Runtime with model.onnx, then the engine, each against
# the float64 truth within its bound.
cd "$(dirname "$0")" || exit 1
answers=$(mktemp) || exit 1
trap 'rm -f "$answers"' EXIT
polygraphy run model.onnx --onnxrt {cases} --save-outputs "$answers" || exit 1
{runner} run {engine} --load-outputs "$answers" {cases} {judged} "$@"
"""
_TWICE = """#!/bin/sh
# Repeats this bundle's comparison on a machine with a GPU: the engine against the float64 truth within its bound. It
# runs twice, because Polygraphy compares two runners and ONNX Runtime has no {precision} on a CPU.
cd "$(dirname "$0")" || exit 1
{runner} run {engine} --trt {cases} {judged} "$@"
"""


def commands(declaration: Declaration, report: EngineReport) -> str:
    """The text of `polygraphy.sh`; what is given to it goes to the command that runs the engine.

    A plugin library is named by its absolute path: it stays outside the bundle, where the script runs.
    """
    plugin = report.options["plugin"]
    return (_TWICE if declaration.precision == "bfloat16" else _WITH_ONNX_RUNTIME).format(
        runner=_RUNNERS[report.target],
        engine=shlex.join(
            [report.file, "--trt", *(["--plugins", str(Path(plugin).absolute())] if plugin else [])]
        ),
        cases=f"--data-loader-script {SCRIPT}",
        judged=f"--compare-func-script {SCRIPT}",
        precision=declaration.precision,
    )


def write_polygraphy(directory: Path, declaration: Declaration, report: EngineReport) -> None:
    """Write `polygraphy.sh` and `polygraphy_vectors.py` beside the engine, `model.onnx` and `vectors.npz`."""
    (directory / SCRIPT).write_text(_TEMPLATE.read_text())
    (directory / COMMAND).write_text(commands(declaration, report))
