"""How often a run allocates: a library in front of the C library's malloc, in the process that runs it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_SOURCE = Path(__file__).with_name("allocations.c")
PRELOAD = "LD_PRELOAD"
RUNS = 20


def built(folder: Path) -> Path | None:
    """The library, compiled into `folder`; None where there is no C compiler, or a C library that is not glibc."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "allocations.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-Wl,--no-undefined", str(_SOURCE), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, check=False)
    return library if done.returncode == 0 else None


@contextmanager
def preloaded(library: Path | None) -> Iterator[None]:
    """Processes that are started in here have the library in front."""
    before = os.environ.get(PRELOAD)
    if library is not None:
        os.environ[PRELOAD] = f"{library} {before}" if before else str(library)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(PRELOAD, None)
        else:
            os.environ[PRELOAD] = before


def per_run(call: Callable[[], object], library: Path) -> float | None:
    """Allocations of one run, in a process that was started with the library in front; None where it is not."""
    loaded = ctypes.CDLL(str(library))
    if _place(loaded) != _place(ctypes.CDLL(None)):  # the loader does without what it cannot read
        return None
    loaded.temport_allocations.restype = ctypes.c_long
    before = loaded.temport_allocations()
    loaded.temport_watch(1)
    for _ in range(RUNS):
        call()
    loaded.temport_watch(0)
    return float(loaded.temport_allocations() - before) / RUNS


def _place(library: ctypes.CDLL) -> int | None:
    """Where the `malloc` lies that is found there."""
    return ctypes.cast(library.malloc, ctypes.c_void_p).value
