"""PTX of single kernels, with what their launch needs, for engines that carry their kernels (`aot_plugin.py`).

Tiles are small enough for 48 KiB of shared memory: an engine launches its kernels without asking for more.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from temport.custom_ops.cuda.build import nvcc

_HERE = Path(__file__).parent
ATTENTION, BLOCK_LINEAR = _HERE / "aot_attention.cu", _HERE / "aot_block_linear.cu"
ELEMENTS = {"float32": "float", "float16": "f16", "bfloat16": "bf16"}
MOST_SHARED = 48 * 1024
"""Bytes per block that every device grants without being asked; `cuFuncSetAttribute` would ask for more."""
OLDEST_CAPABILITY = "80"
"""The PTX is compiled for this compute capability; every newer device takes it."""

_HALF_TILES = {32: (8, 64), 64: (8, 64), 128: (4, 32), 256: (2, 16)}
"""Padded head dim -> warps (16 rows each) and keys per tile, on tensor cores."""
_FLOAT_TILES = {32: 64, 64: 32, 128: 32, 256: 16}
"""Padded head dim -> rows, and keys, per tile of 256 threads."""
_LINEAR_THREADS, _LINEAR_ROWS = 128, 16


@dataclass(frozen=True)
class AotKernel:
    """One kernel of one variant.

    entry    its name in `source` compiled with `macros`
    rows     query rows (or rows of a block) per thread block
    threads  per block
    shared   bytes of dynamic shared memory per block; ValueError for more than a launch takes without asking
    """

    source: Path
    macros: tuple[str, ...]
    entry: str
    rows: int
    threads: int
    shared: int

    def __post_init__(self) -> None:
        if self.shared > MOST_SHARED:
            raise ValueError(
                f"{self.entry} needs {self.shared} bytes of shared memory per block; a kernel in an engine takes "
                f"{MOST_SHARED}, so its tiles have to be smaller"
            )

    def ptx(self) -> str:
        """Compile with nvcc; raises RuntimeError without it, or with its message."""
        return _ptx(self.source, self.macros)


def attention(element_type: str, head_dim: int, value_dim: int, packed: bool, more: str = "") -> AotKernel:
    """The tile loop; `more` is "" or the further input, `mask` (keys to attend) or `linear` (a sum to add)."""
    widest = max(head_dim, value_dim)
    width = next((w for w in sorted(_HALF_TILES) if w >= widest), None)
    if width is None:
        raise ValueError(f"head dim {widest} has no kernel; attention takes 1 to {max(_HALF_TILES)}")
    variant = _variant(packed, more)
    if element_type == "float32":
        rows = keys = _FLOAT_TILES[width]
        threads = 256
        shared = 4 * rows * (2 * (width + 4) + rows + 4)
    else:
        count, keys = _HALF_TILES[width]
        rows, threads = 16 * count, 32 * count
        variant = (f"TEMPORT_WARPS={count}", *variant)
        shared = 2 * (width + 8) * (rows + 2 * keys)
    macros = (
        f"TEMPORT_ELEMENT={ELEMENTS[element_type]}", f"TEMPORT_WIDTH={width}", f"TEMPORT_KEYS={keys}",
        f"TEMPORT_THREADS={threads}", f"TEMPORT_SHARED={shared}", *variant,
    )  # fmt: skip
    return AotKernel(ATTENTION, macros, "temport_attention", rows, threads, shared)


def block_linear(entry: str, element_type: str, head_dim: int, packed: bool) -> AotKernel:
    """One of the three kernels of the linear part: `block_states`, `earlier_blocks`, `linear_part`."""
    macros = (
        f"TEMPORT_ELEMENT={ELEMENTS[element_type]}", f"TEMPORT_THREADS={_LINEAR_THREADS}",
        f"TEMPORT_ROWS={_LINEAR_ROWS}", *_variant(packed, ""),
    )  # fmt: skip
    shared = 4 * _LINEAR_ROWS * head_dim if entry == "linear_part" else 0
    return AotKernel(BLOCK_LINEAR, macros, f"temport_{entry}", _LINEAR_ROWS, _LINEAR_THREADS, shared)


def _variant(packed: bool, more: str) -> tuple[str, ...]:
    return (*(("TEMPORT_PACKED",) if packed else ()), *((f"TEMPORT_{more.upper()}",) if more else ()))


@cache
def _ptx(source: Path, macros: tuple[str, ...]) -> str:
    compiler = nvcc()
    if compiler is None:
        raise RuntimeError("nvcc was not found; install the CUDA toolkit or set NVCC to its compiler")
    with tempfile.TemporaryDirectory(prefix="temport-ptx-") as directory:
        out = Path(directory) / "kernel.ptx"
        command = [compiler, "-ptx", "-std=c++17", "-O3", f"-arch=compute_{OLDEST_CAPABILITY}"]
        command += [*(f"-D{macro}" for macro in macros), "-o", str(out), str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{compiler} failed:\n{done.stderr[-4000:]}")
        return out.read_text()
