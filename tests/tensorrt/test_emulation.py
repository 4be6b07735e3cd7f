"""The emulated GPU must show the mistakes that only a GPU would: each barrier of the kernels is left out once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from temport.custom_ops.cuda import build
from temport.custom_ops.online_softmax_attention.reference import reference
from tests.tensorrt.kept_build import build_emulated_library

_KERNELS = Path(build.__file__).with_name("tile_attention.cuh")
_DRIVER = Path(__file__).with_name("small_kernels.cc")
_BARRIER = re.compile(r"block_barrier\(\);|copies_wait\(\);")
_SECOND_WAY = re.compile(r"bool done = sum > 0;\n.*done = done && finite.*;")
_COUNT = len(_BARRIER.findall(_KERNELS.read_text()))
_RUN = """
import ctypes, sys
import numpy as np
library, cases = ctypes.CDLL(sys.argv[1]), np.load(sys.argv[2])
wrong = []
for name, bound in (("half_kernel", 4e-3), ("float_kernel", 1e-5)):
    q, k, v, truth = (cases[f"{name}.{tensor}"] for tensor in ("q", "k", "v", "truth"))
    y = np.zeros(q.shape, q.dtype)
    addresses = [ctypes.c_void_p(x.ctypes.data) for x in (q, k, v, y)]
    code = getattr(library, name)(*addresses, q.shape[-1], int(sys.argv[3]))
    if code:
        sys.exit(f"refused with {code}")
    if not np.abs(y - truth).max() <= bound:
        wrong.append(name)
sys.exit(f"wrong: {wrong}" if wrong else 0)
"""


def compiled(directory: Path, left_out: int | None) -> Path:
    """The small kernels, without the barrier or wait number `left_out`.

    Nor is a row that came out NaN computed anew: that would mend what a missing barrier broke.
    """
    source, second_ways = _SECOND_WAY.subn("bool done = sum != 0;", _KERNELS.read_text())
    assert second_ways == 2
    if left_out is not None:
        found = list(_BARRIER.finditer(source))[left_out]
        source = source[: found.start()] + ";" + source[found.end() :]
    (directory / _KERNELS.name).write_text(source)
    return build_emulated_library(_DRIVER, [f"-I{directory}", f"-I{_KERNELS.parent}"])


def write_cases(path: Path, width: int) -> Path:
    """Inputs and float64 results of both kernels."""
    tensors = {}
    for name, dtype in (("half_kernel", np.float16), ("float_kernel", np.float32)):
        random = np.random.default_rng(0)
        q, k, v = (random.standard_normal((1, n, width)).astype(dtype) for n in (110, 70, 70))
        truth = reference([q, k, v, None], {"num_heads": 1, "kv_num_heads": 1, "causal": 1, "window": 0,
                                            "query_offset": -1, "scale": 1.0})  # fmt: skip
        tensors |= {f"{name}.{n}": x for n, x in (("q", q), ("k", k), ("v", v), ("truth", truth))}
    np.savez(path, **tensors)
    return path


def outcome(library: Path, directory: Path, width: int = 32, heads: int = 1) -> str:
    """Empty when both kernels are right; a process of its own, because a mistake may abort it."""
    cases = write_cases(directory / "cases.npz", width)
    done = subprocess.run(
        [sys.executable, "-c", _RUN, library, cases, str(heads)], capture_output=True, text=True
    )
    return "" if done.returncode == 0 else done.stderr or f"exit status {done.returncode}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("whole"), None)


def test_kernels_with_all_barriers_are_right(whole: Path, tmp_path: Path) -> None:
    assert outcome(whole, tmp_path) == ""


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=pytest.mark.thorough if n % 3 else ()) for n in range(_COUNT)]
)
def test_a_missing_barrier_shows(number: int, tmp_path: Path) -> None:
    found = outcome(compiled(tmp_path, number), tmp_path)
    assert any(word in found for word in ("wrong", "copies landed"))


def test_misaligned_rows_show(whole: Path, tmp_path: Path) -> None:
    assert "not a multiple of 16" in outcome(whole, tmp_path, width=28)


def test_a_grid_that_no_gpu_takes_is_refused(whole: Path, tmp_path: Path) -> None:
    assert "refused with 9" in outcome(whole, tmp_path, heads=65536)
