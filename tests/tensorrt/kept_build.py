"""Compiled kernels, kept under `build/` by content: a compiler sees the same text once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from temport.custom_ops.cuda import build

_KEPT = Path(__file__).parents[2] / "build" / "kept"
_EMULATION = Path(build.__file__).with_name("emulate.cc")
_FLAGS = ("-std=c++17", "-O0", "-fPIC", "-DTEMPORT_EMULATE", "-Wno-unknown-pragmas")
_UNUSED_SECONDS = 7 * 24 * 3600


def build_emulated_library(source: Path, options: Sequence[str]) -> Path:
    """`source` and the emulation in a shared library; `options` are what the preprocessor takes, `-D` and `-I`."""
    return _compiled(".so", [*options, str(source)], "-shared", str(_emulation()))


@cache
def _emulation() -> Path:
    """The object of the emulation, which is half of what each library compiles."""
    return _compiled(".o", [str(_EMULATION)], "-c")


def _compiled(suffix: str, source: Sequence[str], *more: str) -> Path:
    """Its name is a hash of the compiler, all flags and the preprocessed text, in which every header is."""
    command = [os.environ.get("CXX") or "g++", *_FLAGS, *source]
    text = subprocess.run([*command, "-E", "-P"], check=True, capture_output=True).stdout
    key = b"\0".join([compiler_version(command[0]), " ".join([*_FLAGS, *more]).encode(), text])
    return keep(key, lambda built: subprocess.run([*command, *more, "-o", str(built)], check=True), suffix)


def kernel_sources(compiler: str) -> bytes:
    """A key of the whole kernel library: the compiler, the build command, every source and header that it compiles."""
    folder = Path(build.__file__).parent
    sources = [
        *folder.parent.rglob("*.cu"),
        *folder.parent.rglob("*.cuh"),
        *folder.glob("*.h"),
        *folder.glob("*.cc"),
    ]
    texts = (path.read_bytes() for path in (Path(build.__file__), *sorted(sources)))
    return b"\0".join([compiler_version(compiler), *texts])


def keep(key: bytes, make: Callable[[Path], object], suffix: str = ".so") -> Path:
    """The library, or object, that `make` writes where it is told, built where there is none of this key yet."""
    _forget()
    library = _KEPT / f"{hashlib.sha256(key).hexdigest()}{suffix}"
    with suppress(FileNotFoundError):
        os.utime(library)
        return library
    _KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_KEPT) as directory:  # another process may build the same
        built = Path(directory) / library.name
        make(built)
        built.replace(library)
    return library


@cache
def _forget() -> None:
    """Remove what no run has asked for in a week, once per process."""
    for library in (*_KEPT.glob("*.so"), *_KEPT.glob("*.o")):
        if time.time() - library.stat().st_mtime > _UNUSED_SECONDS:
            library.unlink(missing_ok=True)


@cache
def compiler_version(name: str) -> bytes:
    """What the compiler says about itself, as part of a key."""
    return subprocess.run([name, "--version"], check=True, capture_output=True).stdout
