"""What `temport bench gpu` proves of the kernels that travel in engines, here on emulated threads."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from temport.custom_ops.cuda.aot_kernels import AotKernel
from temport.custom_ops.cuda.launch_arguments import LaunchArguments
from temport.exporter.bench import gpu_aot
from temport.exporter.bench.gpu_aot import PtxLauncher, checks
from tests.tensorrt.aot_harness import launch_emulated


class EmulatedLauncher:
    """Like `PtxLauncher`, on emulated threads; `spoil` is added to what a kernel writes."""

    def __init__(self, spoil: float = 0.0) -> None:
        self.spoil = spoil

    def __call__(
        self, kernel: AotKernel, grid: Sequence[int], read: Sequence[torch.Tensor], integers: Sequence[int],
        written: Sequence[torch.Tensor],
    ) -> None:  # fmt: skip
        arguments = LaunchArguments([x.data_ptr() for x in read], integers, [x.data_ptr() for x in written])
        launch_emulated(kernel, grid, kernel.threads, kernel.shared, arguments)
        written[0].add_(self.spoil)


@pytest.fixture(autouse=True)
def one_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every type of the kernels is tested in `test_aot_plugin`, which has some of these."""
    monkeypatch.setattr(gpu_aot, "DTYPES", (torch.float32,))


def test_kernels_pass() -> None:
    found = list(checks(EmulatedLauncher(), "cpu"))
    assert len(found) == 4 and all(check.passed for check in found)


def test_a_wrong_kernel_fails() -> None:
    assert not any(check.passed for check in checks(EmulatedLauncher(spoil=0.05), "cpu"))


def test_a_kernel_that_writes_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "libcuda.so"
    source = Path(__file__).with_name("fake_cuda.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    launcher = PtxLauncher(str(library))
    monkeypatch.setattr(AotKernel, "ptx", lambda kernel: f".visible .entry {kernel.entry}(")
    assert not any(check.passed for check in checks(launcher, "cpu"))
    monkeypatch.setattr(AotKernel, "ptx", lambda kernel: "not PTX")
    with pytest.raises(RuntimeError, match="CUDA refused cuModuleLoadData with error 218"):
        list(checks(launcher, "cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_kernels_that_cannot_run_are_no_pass() -> None:
    with pytest.raises(RuntimeError, match=r"the kernels that travel in engines: .*CUDA"):
        gpu_aot.proofs()
