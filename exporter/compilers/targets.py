"""The targets by name, and the files of theirs in a bundle.

Light: a process that only runs an engine imports this, and no torch.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from temport.exporter.compilers.contract import Backend, CompileOptions
from temport.exporter.errors import UserError

COMPILERS = {
    "tensorrt-rtx": "temport.exporter.compilers.tensorrt_rtx",
    "tensorrt": "temport.exporter.compilers.tensorrt",
}
"""Target name -> module whose `BACKEND` describes it and whose `engine_targets` names the GPUs of an engine; imported
when asked for."""
FORMS = ("aot-inductor", "emx", "executorch", "iree", "litert", "mnn", "tract")
"""Targets that are another runtime's own form of the model; the runtime of the same name makes and runs it."""
ENGINE_FILE = "engine.{target}.plan"
REPORT_FILE = "engine.json"


def backend(target: str) -> Backend:
    """The table of one target; raises `UserError` for an unknown name."""
    if target not in COMPILERS:
        raise UserError(
            f"--target {target} is unknown; the targets are native, {', '.join((*COMPILERS, *FORMS))}"
        )
    found: Backend = importlib.import_module(COMPILERS[target]).BACKEND
    return found


def ready_backend(target: str, options: CompileOptions) -> Backend:
    """The table of a target that can compile here with `options`; raises `UserError` before any work is done."""
    table = backend(target)
    if (why := table.unavailable()) is not None:
        raise UserError(f"{target} cannot compile here: {why}")
    options.check(table)
    return table


def entry_of(directory: Path, target: str) -> dict[str, Any] | None:
    """What the `engine.json` of a bundle says of this target's engine; None where it has none."""
    return next((entry for entry in _entries(directory / REPORT_FILE) if entry["target"] == target), None)


def engine_of(directory: Path, row: str) -> str:
    """The target whose engine in a bundle the runtime of this name runs; empty where there is none."""
    targets = [entry["target"] for entry in _entries(directory / REPORT_FILE)]
    return next((target for target in targets if row_name(target) == row), "")


def form_rows(directory: Path) -> list[str]:
    """The runtimes whose own form of the model a bundle holds."""
    return [
        row_name(entry["target"]) for entry in _entries(directory / REPORT_FILE) if entry["target"] in FORMS
    ]


def row_name(target: str) -> str:
    """The runtime that runs what the target makes."""
    return "native_engine" if target == "native" else target.replace("-", "_")


def enter(path: Path, report: dict[str, Any]) -> None:
    """`engine.json` lists one engine per target, as its report has it. A rebuilt target replaces its entry."""
    engines = [entry for entry in _entries(path) if entry["target"] != report["target"]] + [report]
    path.write_text(json.dumps({"format": 1, "engines": engines}, indent=1) + "\n")


def _entries(path: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(path.read_text())["engines"] if path.is_file() else []
    return entries
