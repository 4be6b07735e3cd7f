"""The targets by name, and the files of theirs in a bundle.

Light: a process that only runs an engine imports this, and no torch.
"""

from __future__ import annotations

import importlib

from temport.exporter.compilers.contract import Backend, CompileOptions
from temport.exporter.errors import UserError

COMPILERS = {
    "tensorrt-rtx": "temport.exporter.compilers.tensorrt_rtx",
    "tensorrt": "temport.exporter.compilers.tensorrt",
}
"""Target name -> module whose `BACKEND` describes it and whose `engine_targets` names the GPUs of an engine; imported
when asked for."""
ENGINE_FILE = "engine.{target}.plan"
REPORT_FILE = "engine.json"


def backend(target: str) -> Backend:
    """The table of one target; raises `UserError` for an unknown name."""
    if target not in COMPILERS:
        raise UserError(f"--target {target} is unknown; the targets are {', '.join(COMPILERS)}")
    found: Backend = importlib.import_module(COMPILERS[target]).BACKEND
    return found


def ready_backend(target: str, options: CompileOptions) -> Backend:
    """The table of a target that can compile here with `options`; raises `UserError` before any work is done."""
    table = backend(target)
    if (why := table.unavailable()) is not None:
        raise UserError(f"{target} cannot compile here: {why}")
    options.check(table)
    return table
