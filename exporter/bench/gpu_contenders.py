"""Ours and what torch offers for the same case; each is a call without arguments, or a reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from temport.exporter.bench.gpu_cases import GpuCase
from temport.exporter.bench.gpu_kernels import TorchKernels

Call = Callable[[], torch.Tensor]
FLEX_LENGTHS = (4096, 16384)
"""flex_attention compiles for every shape, which takes many seconds: only these are tried."""
LONGEST_TABLE = 16384
"""Beyond this a T x T mask for SDPA does not fit beside the rest."""


def tensors(case: GpuCase, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Q, K, V `[B, N, H*D]`."""
    shape = (case.batch, case.length, case.heads * case.head_dim)
    generator = torch.Generator(device).manual_seed(0)
    dtype = getattr(torch, case.element_type)
    q, k, v = (
        torch.randn(shape, generator=generator, device=device, dtype=torch.float32).to(dtype)
        for _ in range(3)
    )
    return q, k, v


def contenders(case: GpuCase, kernels: TorchKernels, device: str) -> Iterator[tuple[str, Call]]:
    """Names and calls; whether one works on this device shows when it is called."""
    q, k, v = tensors(case, device)
    if case.family == "block_linear":
        yield (
            "ours",
            lambda: kernels.block_linear(
                q,
                k,
                v,
                case.heads,
                case.span,
                scale=case.scale,
                feature_map="elu1",
                normalizer="key_sum",
                eps=1e-8,
            ),
        )
        yield "torch chunked", lambda: chunked_block_linear(q, k, v, case)
        return
    window = case.span if case.family == "window" else 0
    yield "ours", lambda: kernels.attention(q, k, v, case.heads, causal=True, window=window, scale=case.scale)
    by_head = [x.view(case.batch, case.length, case.heads, case.head_dim).transpose(1, 2) for x in (q, k, v)]
    yield from _sdpa(by_head, case, window, device)
    if device == "cuda" and case.length in FLEX_LENGTHS:
        yield "flex_attention", _flex(by_head, case, window, device)


def _sdpa(x: list[torch.Tensor], case: GpuCase, window: int, device: str) -> Iterator[tuple[str, Call]]:
    """Causal without the window everywhere: what a user without a window kernel would run; with it where it
    fits."""

    def call(backend: SDPBackend, mask: torch.Tensor | None) -> Call:
        def run() -> torch.Tensor:
            with sdpa_kernel(backend):
                return functional.scaled_dot_product_attention(
                    x[0], x[1], x[2], attn_mask=mask, is_causal=mask is None
                )

        return run

    kinds = (
        {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION} if device == "cuda" else {}
    )
    for name, backend in {**kinds, "math": SDPBackend.MATH}.items():
        if name != "math" or case.length <= 2048:
            yield f"sdpa {name}", call(backend, None)
    if window and case.length <= LONGEST_TABLE:
        i = torch.arange(case.length, device=device)
        mask = (i[None, :] <= i[:, None]) & (i[None, :] > i[:, None] - window)
        backend = SDPBackend.EFFICIENT_ATTENTION if device == "cuda" else SDPBackend.MATH
        yield "sdpa efficient, window mask", call(backend, mask)


def _flex(x: list[torch.Tensor], case: GpuCase, window: int, device: str) -> Call:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def rule(batch: torch.Tensor, head: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        return (j <= i) & (j > i - window) if window else j <= i

    # each case is compiled alone: a function compiled too often is run unfused, which would time something else
    torch._dynamo.reset()
    blocks = create_block_mask(rule, None, None, case.length, case.length, device=device)
    compiled = torch.compile(flex_attention, dynamic=False)
    q, k, v = x

    def run() -> torch.Tensor:
        y: torch.Tensor = compiled(q, k, v, block_mask=blocks)
        return y

    return run


def chunked_block_linear(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, case: GpuCase) -> torch.Tensor:
    """Block-linear attention the way torch does it best: batched products per block and a cumulative sum."""
    B, N, H, block = case.batch, case.length, case.heads, case.span
    x = [t.view(B, N // block, block, H, -1).transpose(2, 3) for t in (q, k, v)]  # [B, n, H, block, D]
    rows = [t.reshape(-1, H, block, case.head_dim) for t in x]
    intra = functional.scaled_dot_product_attention(rows[0], rows[1], rows[2], is_causal=True)
    phi_q, phi_k = (functional.elu(t.float()) + 1 for t in x[:2])
    states = phi_k.transpose(-1, -2) @ x[2].float()
    sums = phi_k.sum(-2, keepdim=True)
    states, sums = (t.cumsum(1) - t for t in (states, sums))
    inter = (phi_q @ states) / ((phi_q * sums).sum(-1, keepdim=True) + 1e-8)
    return (intra.view_as(inter) + inter.to(q.dtype)).transpose(2, 3).reshape(B, N, -1)
