"""Kernels compiled for emulated threads, kept under `build/` by content: the compiler sees the same text once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from custom_ops.cuda import build

_KEPT = Path(__file__).parents[2] / "build" / "emulated"
_EMULATION = Path(build.__file__).with_name("emulate.cc")
_FLAGS = ("-std=c++17", "-O1", "-shared", "-fPIC", "-DTEMPORT_EMULATE", "-Wno-unknown-pragmas")
_UNUSED_SECONDS = 7 * 24 * 3600


def build_library(source: Path, options: Sequence[str]) -> Path:
    """`source` and the emulation in a shared library; `options` are what the preprocessor takes, `-D` and `-I`.

    Its name is a hash of the compiler, the flags and the preprocessed text, in which every header is.
    """
    command = [os.environ.get("CXX") or "g++", *_FLAGS, *options, str(source), str(_EMULATION)]
    text = subprocess.run([*command, "-E", "-P"], check=True, capture_output=True).stdout
    key = b"\0".join([_compiler(command[0]), " ".join(_FLAGS).encode(), text])
    library = _KEPT / f"{hashlib.sha256(key).hexdigest()}.so"
    if library.exists():
        library.touch()
        return library
    _KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_KEPT) as directory:  # another process may build the same
        built = Path(directory) / library.name
        subprocess.run([*command, "-o", str(built)], check=True)
        built.replace(library)
    return library


@cache
def _compiler(name: str) -> bytes:
    """The compiler's version; the first call forgets what no run has asked for in a week."""
    for library in _KEPT.glob("*.so"):
        if time.time() - library.stat().st_mtime > _UNUSED_SECONDS:
            library.unlink(missing_ok=True)
    return subprocess.run([name, "--version"], check=True, capture_output=True).stdout
