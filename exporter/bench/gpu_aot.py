"""The kernels that travel in engines, proven on this device without TensorRT: the driver loads their PTX.

A process of its own, `python -m temport.exporter.bench.gpu_aot`, prints the checks as JSON.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch

from temport.exporter.bench.gpu_checks import (
    DTYPES,
    Check,
    allowed_pairs,
    block_linear,
    draw,
    judge,
    softmax_attention,
)

LONGEST = 120
"""Seconds for all of it; most of them are nvcc's."""
Launch = Callable[[Any, Sequence[int], Sequence[torch.Tensor], Sequence[int], Sequence[torch.Tensor]], None]
"""`launch(kernel, grid, tensors read, integers, tensors written)`."""


def proofs() -> list[dict[str, Any]]:
    """The checks of this device; raises `RuntimeError` where a kernel cannot be built, does not run or does not end."""
    command = [sys.executable, "-m", "temport.exporter.bench.gpu_aot"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(
            f"the kernels that travel in engines: not finished after {LONGEST} seconds"
        ) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"died with exit status {done.returncode}"]
        raise RuntimeError(f"the kernels that travel in engines: {lines[-1][:300]}")
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def checks(launch: Launch, device: str) -> Iterator[Check]:
    """Attention with a window and grouped heads, with a key mask, wide heads; and the four steps of block-linear."""
    for dtype in DTYPES:
        yield _attention(launch, device, dtype, 150, 4, 2, 64, window=60)
        yield _attention(launch, device, dtype, 77, 2, 2, 40, window=0, masked=True)
        yield _attention(launch, device, dtype, 130, 1, 1, 256, window=0)
        yield _block_linear(launch, device, dtype, 130, 16)


def _attention(
    launch: Launch, device: str, dtype: torch.dtype, T: int, H: int, kv: int, D: int, window: int, masked: bool = False
) -> Check:  # fmt: skip
    from temport.custom_ops.cuda import aot_kernels
    from temport.custom_ops.cuda.launch_arguments import float_bits

    q, k, v = draw(device, dtype, (2, T, H * D), (2, T, kv * D), (2, T, kv * D))
    allowed, more = allowed_pairs(T, T, device, causal=True, window=window), []
    if masked:
        mask = (torch.arange(2 * T, device=device) % 3 > 0).reshape(2, T)
        allowed, more = allowed & mask[:, None, None, :], [mask]
    kernel = aot_kernels.attention(_name(dtype), D, D, False, "mask" if masked else "")
    attributes = {
        "num_heads": H, "kv_num_heads": kv, "head_dim": D, "value_dim": D, "causal": 1, "window": window,
        "first_position": 0, "block": 0, "scale_bits": float_bits(D**-0.5),
    }  # fmt: skip
    y = torch.full_like(q, torch.nan)
    op = "attention__qkv__mask" if masked else "attention__qkv"
    _run(launch, op, kernel, [q, k, v, *more], attributes, [y])
    exact = softmax_attention(q.double(), k.double(), v.double(), H, kv, allowed)
    error = (softmax_attention(q, k, v, H, kv, allowed).double() - exact).abs().max().item()
    return judge(f"in engines: {op}-T{T}-D{D}-window{window}-{dtype}", y, exact, error)


def _block_linear(launch: Launch, device: str, dtype: torch.dtype, length: int, block: int) -> Check:
    from temport.custom_ops.cuda import aot_kernels
    from temport.custom_ops.cuda.launch_arguments import float_bits

    H, D, blocks = 2, 32, -(-length // block)
    q, k, v = draw(device, dtype, *[(2, length, H * D)] * 3)
    attributes = {
        "num_heads": H, "kv_num_heads": H, "head_dim": D, "value_dim": D, "causal": 1, "window": 0, "elu1": 1,
        "first_position": 1, "block": block, "key_sum": 1, "scale_bits": float_bits(D**-0.5),
        "eps_bits": float_bits(1e-8),
    }  # fmt: skip

    def room(*shape: int) -> torch.Tensor:
        return torch.full(shape, torch.nan, device=device)

    own = [room(2, H, blocks, D, D), room(2, H, blocks, D)]
    earlier, linear, y = (
        [torch.full_like(x, torch.nan) for x in own],
        room(*q.shape),
        torch.full_like(q, torch.nan),
    )
    steps: list[tuple[str, list[torch.Tensor], list[torch.Tensor]]] = [
        ("block_states__qkv", [k, v], own), ("earlier_blocks", own, earlier),
        ("linear_part__qkv", [q, *earlier], [linear]),
    ]  # fmt: skip
    for op, read, written in steps:
        kernel = aot_kernels.block_linear(op.partition("__")[0], _name(dtype), D, False)
        _run(launch, op, kernel, read, attributes, written)
    kernel = aot_kernels.attention(_name(dtype), D, D, False, "linear")
    _run(launch, "attention__qkv__linear", kernel, [q, k, v, linear], attributes, [y])
    exact = block_linear(q.double(), k.double(), v.double(), H, block)
    error = (block_linear(q, k, v, H, block).double() - exact).abs().max().item()
    return judge(f"in engines: block_linear-N{length}-block{block}-{dtype}", y, exact, error)


def _run(
    launch: Launch,
    op: str,
    kernel: Any,
    read: list[torch.Tensor],
    attributes: dict[str, int],
    written: list[torch.Tensor],
) -> None:
    """Grid and integers as the plugin computes them, from plain numbers instead of expressions."""
    from temport.custom_ops.cuda import aot_plugin

    numbers = SimpleNamespace(cdiv=lambda a, b: -(-a // b))
    tensors = [SimpleNamespace(shape_expr=tuple(x.shape)) for x in read]
    grid, integers = aot_plugin.launch_of(
        numbers, aot_plugin.OPS[op], tensors, attributes, kernel.rows, kernel.threads
    )
    launch(kernel, grid, read, integers, written)


class PtxLauncher:
    """Compile with nvcc, load and launch with the CUDA driver, in torch's context."""

    def __init__(self, library: str = "libcuda.so.1") -> None:
        self._cuda = ctypes.CDLL(library)

    def __call__(
        self, kernel: Any, grid: Sequence[int], read: Sequence[torch.Tensor], integers: Sequence[int],
        written: Sequence[torch.Tensor],
    ) -> None:  # fmt: skip
        from temport.custom_ops.cuda.launch_arguments import LaunchArguments

        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), kernel.ptx().encode())
        self._call("cuModuleGetFunction", ctypes.byref(function), module, kernel.entry.encode())
        arguments = LaunchArguments([x.data_ptr() for x in read], integers, [x.data_ptr() for x in written])
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream if read[0].is_cuda else 0)
        block = (kernel.threads, 1, 1)
        self._call("cuLaunchKernel", function, *grid, *block, kernel.shared, stream, arguments, None)
        self._call("cuCtxSynchronize")
        self._call("cuModuleUnload", module)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code != 0:
            raise RuntimeError(f"CUDA refused {name} with error {code}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.zeros(1, device="cuda")  # torch's context becomes the thread's
    print(json.dumps([check.to_json() for check in checks(PtxLauncher(), "cuda")]))
