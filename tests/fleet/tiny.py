"""A fleet of models that take a second each, and modules that behave badly."""

from __future__ import annotations

from pathlib import Path

COMMON = """
[common]
set = ["embed_dim=6", "hidden_size=8", "num_layers=1"]
runtime = "onnxruntime_cpu"
"""

POISON = """
import os
import pathlib
import subprocess
import time

from torch import nn


def crash():
    os.kill(os.getpid(), 11)


def hang():
    part = pathlib.Path(__file__).with_name("began.part")
    part.write_text(str(os.getpid()))
    part.rename(part.with_suffix(""))
    time.sleep(3600)


def eat():
    # what is asked for counts; writing there would take seconds
    kept = [bytearray(1 << 24) for _ in range(4 << 6)]
    return good() if kept else None


def raise_():
    raise RuntimeError("a module that cannot be made")


def leave():
    # its package leaves a process behind
    made = subprocess.Popen(["sleep", "600"])
    pathlib.Path(__file__).with_name("left").write_text(str(made.pid))
    return good()


def good():
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh())
"""


def write(folder: Path, text: str, common: str = COMMON) -> Path:
    """A fleet file in `folder`."""
    path = folder / "fleet.toml"
    path.write_text(common + text)
    return path


def poisoned(folder: Path, *factories: str) -> Path:
    """A fleet of modules that behave as their names say."""
    (folder / "poison.py").write_text(POISON)
    names = ", ".join(f'"poison.py:{name}"' for name in factories)
    return write(
        folder,
        f'[[matrix]]\nmodule = [{names}]\nshape = ["x=batch,4"]\nruntime = "onnxruntime_cpu"\n',
        common="",
    )
