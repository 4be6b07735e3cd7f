"""A converter that is a program of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from temport.exporter.errors import UserError


def run_module(name: str, module: str, arguments: Sequence[str], folder: Path) -> None:
    """`python -m module` in `folder`. UserError with its last line where it ends with another code than 0."""
    run_tool(name, [sys.executable, "-P", "-m", module, *arguments], folder)


def run_tool(name: str, command: Sequence[str], folder: Path) -> None:
    """UserError as `run_module`; RuntimeError where a signal ended it, which is a failure and no refusal."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if not done.returncode:
        return
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    said = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no message")
    if done.returncode < 0:
        raise RuntimeError(f"{name} died of signal {-done.returncode}: {said[:300]}")
    raise UserError(f"{name} does not take this model: {said[:300]}")
