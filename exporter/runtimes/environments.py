"""Packages of a runtime that temport does not depend on: used where this Python has them, and otherwise from a folder
of their own, which `temport runtimes install NAME` fills and which only that runtime's process sees.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from temport.exporter.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Environment:
    """`pins` are all that is installed: what these packages share with temport (numpy, onnx, torch) is this Python's.

    The first pin is the runtime itself, by whose version it is told.
    """

    name: str
    pins: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Of these very pins for this Python: another version of either is another folder."""
        key = hashlib.sha256("\n".join((sys.version, *self.pins)).encode()).hexdigest()[:12]
        return cache() / f"{self.name}-{key}"

    def missing(self) -> str | None:
        """Why it cannot be used, or None."""
        if self.folder.is_dir() or all(_installed(pin) for pin in self.pins):
            return None
        return f"{self.name} is not installed; temport runtimes install {self.name}"

    def version(self) -> str:
        """Of the runtime itself; the folder goes before what this Python has, as in `enter`."""
        package = self.pins[0].split("==")[0]
        found = metadata.distributions(name=package, path=[str(self.folder)])
        return next((each.version for each in found), None) or metadata.version(package)

    def enter(self) -> None:
        """Let this process, and those that it starts, import the packages."""
        if self.folder.is_dir():
            sys.path.insert(0, str(self.folder))
            paths = (str(self.folder), os.environ.get("PYTHONPATH"))
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))

    def install(self) -> None:
        """Fill the folder by pip where it is not there: whole or not at all. UserError with pip's last line where that
        fails.
        """
        if self.folder.is_dir():
            return
        if importlib.util.find_spec("pip") is None:
            raise UserError(
                f"{self.name} is installed by pip, which this Python does not have; python -m ensurepip"
            )
        part = self.folder.with_name(f"{self.folder.name}.{os.getpid()}")
        part.parent.mkdir(parents=True, exist_ok=True)
        options = ("--target", str(part), "--no-deps", "--only-binary", ":all:", "--quiet")
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pip", "install", *options, *self.pins],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                last = next(
                    (line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message"
                )
                raise UserError(f"{self.name} cannot be installed: {last}")
            try:
                part.rename(self.folder)
            except OSError:
                if not self.folder.is_dir():  # else another installation of the same came first
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def remove(self) -> bool:
        """Whether there was a folder, which is gone now; OSError where it cannot be removed."""
        if not self.folder.is_dir():
            return False
        shutil.rmtree(self.folder)
        return True


def cache() -> Path:
    """$XDG_CACHE_HOME/temport/runtimes, ~/.cache where that is not set or, as its specification has it, not absolute:
    converters run in folders of their own, from which a relative one is another.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "temport" / "runtimes"


def _installed(pin: str) -> bool:
    try:
        metadata.version(pin.split("==")[0])
    except metadata.PackageNotFoundError:
        return False
    return True


EMX = Environment("emx", ("emx-onnx-cgen==1.4.0", "emx-regex-cgen==0.2.0"))
EXECUTORCH = Environment(
    "executorch",
    (
        "executorch==1.5.1",
        "torchao==0.18.0",
        "pytorch_tokenizers==1.5.0",
        "flatbuffers==25.12.19",
        "ruamel.yaml==0.19.1",
        "tabulate==0.10.0",
        "PyYAML==6.0.4",
    ),
)
IREE = Environment("iree", ("iree-base-compiler==3.13.0", "iree-base-runtime==3.13.0"))
LITERT = Environment(
    "litert",
    (
        "ai-edge-litert==2.3.0",
        "litert-torch==0.10.0",
        "litert-converter==0.5.0",
        "litert-lm-builder==0.18.1",
        "ai-edge-quantizer==0.10.0",
        "torchao==0.18.0",
        "jax==0.10.2",
        "jaxlib==0.10.2",
        "jaxtyping==0.3.11",
        "opt_einsum==3.4.0",
        "scipy==1.17.1",
        "absl-py==2.5.1",
        "backports.strenum==1.2.8",
        "fire==0.7.1",
        "flatbuffers==25.12.19",
        "immutabledict==4.3.1",
        "kagglehub==1.0.3",
        "multipledispatch==1.0.0",
        "tabulate==0.10.0",
        "termcolor==3.3.0",
        "tqdm==4.70.1",
        "wadler_lindig==0.1.8",
    ),
)
MNN = Environment("mnn", ("MNN==3.6.1",))
ONNX2FX = Environment("onnx2fx", ("onnx2fx==0.0.1",))
"""No runtime: by it the forms of torch programs are made of ONNX files."""
TRACT = Environment("tract", ("tract==0.23.9",))

ENVIRONMENTS = {each.name: each for each in (EMX, EXECUTORCH, IREE, LITERT, MNN, ONNX2FX, TRACT)}


def environment_named(name: str) -> Environment:
    """The environment called `name`; UserError where there is none."""
    if name not in ENVIRONMENTS:
        raise UserError(f"nothing is installed for runtime {name!r}; {did_you_mean(name, ENVIRONMENTS)}")
    return ENVIRONMENTS[name]
