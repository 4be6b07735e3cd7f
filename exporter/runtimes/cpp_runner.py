"""The C++ library through its runner `temport-run`, with this installation's ONNX Runtime library."""

from __future__ import annotations

import os
import shutil
import sysconfig
from dataclasses import replace
from pathlib import Path

from temport.custom_ops.library import library_path
from temport.exporter.runtimes.libraries import onnxruntime_library
from temport.exporter.runtimes.onnxruntime_cpu import CAPABILITIES
from temport.exporter.runtimes.runner import Found, RunnerRuntime

PROGRAM = "temport-run"
BUILT = Path(__file__).resolve().parents[2] / "deploy" / "cpp" / "build" / "default" / PROGRAM


def find() -> Found:
    """$TEMPORT_RUN, then the PATH, then what temport-runtime installs beside this Python, then the checkout's build."""
    beside = shutil.which(PROGRAM, path=sysconfig.get_path("scripts"))
    program = os.environ.get("TEMPORT_RUN") or shutil.which(PROGRAM) or beside or str(BUILT)
    if not Path(program).is_file():
        return Found(missing=f"{PROGRAM} was not built; see deploy/cpp, or name it in $TEMPORT_RUN")
    library = onnxruntime_library()
    if library is None:
        return Found(missing="the onnxruntime package carries no shared library on this system")
    try:
        ops = library_path()
    except ValueError as error:
        return Found(missing=str(error))
    return Found((program,), ("--library", str(library), "--ops", str(ops) if ops else "none"))


RUNTIME = RunnerRuntime(
    "cpp",
    replace(
        CAPABILITIES,
        custom_domain=True,
        intermediates=False,
        streams=False,
        whole_streams=True,
        threads=True,
    ),
    find,
)
