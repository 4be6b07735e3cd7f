"""The op library for sessions of one node: most of their time goes into domains that no such model names."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from temport.custom_ops.library import get_library_path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "tests" / "custom_ops" / "first_domain.cc"
ABI = ROOT / "custom_ops" / "native" / "ort_abi"
KEPT = ROOT / "build" / "kept"


@cache
def first_domain() -> str:
    """A library to register that has the kernels of the op library, in its first domain alone."""
    # nodelete: ONNX Runtime closes a library with its session, and the domains are made once
    flags = ["-std=c++17", "-O1", "-fPIC", "-shared", "-Wl,-z,nodelete", f"-I{ABI}"]
    command = ["g++", *flags, f'-DTEMPORT_LIBRARY="{get_library_path()}"']
    texts = b"\0".join([" ".join(command).encode(), SOURCE.read_bytes(), (ABI / "ort_abi.h").read_bytes()])
    library = KEPT / f"{hashlib.sha256(texts).hexdigest()}.so"
    if not library.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as folder:  # another process may build the same
            built = Path(folder) / library.name
            subprocess.run([*command, SOURCE, "-ldl", "-o", built], check=True)
            os.replace(built, library)
    return str(library)
