"""onnxruntime-node: the JavaScript that a node service runs, on the function bodies."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from temport.exporter.runtimes.onnxruntime_cpu import CAPABILITIES
from temport.exporter.runtimes.runner import Found, RunnerRuntime

JS = Path(__file__).resolve().parents[2] / "deploy" / "js"


def find() -> Found:
    """node on the PATH, onnxruntime-node where `npm install` in deploy/js puts it."""
    return find_javascript("onnxruntime-node", JS / "node" / "temport-run.mjs")


def find_javascript(package: str, program: Path) -> Found:
    """A runner of deploy/js that needs `package`."""
    node = shutil.which("node")
    if node is None:
        return Found(missing="node is not installed")
    if not (JS / "node_modules" / package).is_dir():
        return Found(missing=f"{package} is not installed; run npm install in deploy/js")
    return Found((node, str(program)))


RUNTIME = RunnerRuntime(
    "node", replace(CAPABILITIES, intermediates=False, streams=False, whole_streams=True), find
)
