"""Build the kernel library: `python -m custom_ops.cuda.build [OUT]`.

With nvcc: machine code for compute capabilities 8.0, 8.6, 8.9 and 9.0, and PTX that newer devices compile. With
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
    _HERE.parent / "online_softmax_attention" / "kernel.cu",
    _HERE.parent / "block_linear_attention" / "kernel.cu",
)
DEFAULT = _HERE / "libtemport_cuda.so"


def nvcc() -> str | None:
    """The CUDA compiler, or None where there is none."""
    return os.environ.get("NVCC") or shutil.which("nvcc")


def build_cuda(out: Path = DEFAULT, architectures: tuple[str, ...] = ARCHITECTURES) -> Path:
    """Compile the shared library for `architectures`; the newest also as PTX. Raises RuntimeError without nvcc."""
    compiler = nvcc()
    if compiler is None:
        raise RuntimeError("nvcc was not found; install the CUDA toolkit or set NVCC to its compiler")
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    newest = architectures[-1]
    targets.append(f"-gencode=arch=compute_{newest},code=compute_{newest}")
    flags = ["-std=c++17", "-O3", "-shared", "-Xcompiler=-fPIC", "-cudart=static"]
    _run([compiler, *flags, *targets, "-o", str(out), *map(str, SOURCES)])
    return out


def build_emulated(out: Path) -> Path:
    """Compile the same kernels for the host, blocks and threads emulated."""
    compiler = os.environ.get("CXX") or "g++"
    flags = ["-std=c++17", "-O2", "-shared", "-fPIC", "-DTEMPORT_EMULATE", "-Wno-unknown-pragmas"]
    sources = [*map(str, SOURCES), "-x", "none", str(_HERE / "emulate.cc")]
    _run([compiler, *flags, "-o", str(out), "-x", "c++", *sources])
    return out


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-4000:]}")


if __name__ == "__main__":
    print(build_cuda(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT))
