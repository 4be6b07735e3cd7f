"""Build the kernel library: `python -m temport.custom_ops.cuda.build [OUT]`.

With nvcc: machine code for compute capabilities 8.0, 8.6, 8.9 and 9.0, and PTX that other devices compile. With
the host compiler: the same sources on emulated threads (`emulate.h`), for tests on machines without a GPU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ARCHITECTURES = ("80", "86", "89", "90")
_HERE = Path(__file__).parent
SOURCES = (
    _HERE / "tile_attention.cu",
    _HERE.parent / "online_softmax_attention" / "kernel.cu",
    _HERE.parent / "block_linear_attention" / "kernel.cu",
)
DEFAULT = _HERE / "libtemport_cuda.so"


def nvcc() -> str | None:
    """The CUDA compiler, or None where there is none."""
    return os.environ.get("NVCC") or shutil.which("nvcc")


def build_cuda(
    out: Path = DEFAULT, architectures: tuple[str, ...] = ARCHITECTURES, extra: tuple[str, ...] = ()
) -> Path:
    """Compile the shared library for `architectures`, and as PTX, with `extra` sources and flags.

    Raises RuntimeError without nvcc, or with the compiler's message.

    Code of one generation (8.x, 9.x) is translated once to PTX and from there to each machine.
    """
    compiler = nvcc()
    if compiler is None:
        raise RuntimeError("nvcc was not found; install the CUDA toolkit or set NVCC to its compiler")
    targets = []
    for generation in sorted({a[0] for a in architectures}):
        members = [a for a in architectures if a.startswith(generation)]
        code = [f"sm_{a}" for a in members] + [f"compute_{members[0]}"]
        targets.append(f"-gencode=arch=compute_{members[0]},code=[{','.join(code)}]")
    flags = ["-std=c++17", "-O3", "-shared", "-Xcompiler=-fPIC", "-cudart=static", "--threads=0"]
    _run([compiler, *flags, *targets, "-o", str(out), *map(str, SOURCES), *extra])
    return out


def build_emulated(out: Path, extra: tuple[str, ...] = ()) -> Path:
    """Compile the same kernels for the host, blocks and threads emulated."""
    compiler = os.environ.get("CXX") or "g++"
    flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-DTEMPORT_EMULATE", "-Wno-unknown-pragmas"]
    sources = [*map(str, SOURCES), "-x", "none", str(_HERE / "emulate.cc"), *extra]
    _run([compiler, *flags, "-o", str(out), "-x", "c++", *sources])
    return out


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-4000:]}")


if __name__ == "__main__":
    print(build_cuda(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT))
