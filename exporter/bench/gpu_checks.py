"""Are the kernels right on this device? Every element type and odd shapes against float64 before anything
is timed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from temport.exporter.bench.gpu_kernels import TorchKernels
from temport.exporter.parity import compare

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
EPS = compare.EPS["float32"]
"""Of float32, in which every kernel sums; what a half type rounds, torch's own error in it shows."""


@dataclass(frozen=True)
class Check:
    """One comparison: largest error against float64 and what is allowed."""

    name: str
    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed  # false for NaN

    def to_json(self) -> dict[str, Any]:
        """With `passed`; an error that is no number is null, which JSON can say."""
        error = self.error if math.isfinite(self.error) else None
        return {"name": self.name, "error": error, "allowed": self.allowed, "passed": self.passed}


Shape = tuple[int, int, int, int, int, dict[str, Any]]
"""T, S, heads, kv_heads, head_dim, rule."""
SHAPES: tuple[Shape, ...] = (
    (65, 65, 2, 2, 64, {}),
    (1, 70, 4, 2, 64, {"causal": True}),
    (130, 130, 2, 1, 128, {"causal": True}),
    (200, 200, 2, 2, 32, {"window": 7}),
    (300, 300, 1, 1, 256, {"window": 60}),
    (9, 4, 2, 2, 64, {"causal": True}),
    (70, 20, 2, 2, 16, {"window": 3, "query_offset": 0}),
    (77, 90, 2, 2, 40, {"causal": True, "key_mask": True}),
    (513, 513, 2, 2, 80, {"window": 200}),
)
LONG = 65536
"""Rows of the longest checks: only their last rows are compared, the truth of all would not fit."""
LAST_ROWS = 64
BLOCKS = ((1, 4), (64, 64), (200, 64), (130, 16), (9, 200))


def checks(kernels: TorchKernels, device: str) -> Iterator[Check]:
    """All comparisons, one at a time, judged by `judge`."""
    for dtype in DTYPES:
        for shape in SHAPES:
            yield _attention(kernels, device, dtype, *shape)
        for length, block in BLOCKS:
            yield _block_linear(kernels, device, dtype, length, block)
        for rule in ({"causal": True}, {"window": 256}):
            yield _long_attention(kernels, device, dtype, rule)


def draw(device: str, dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to(dtype).to(device) for shape in shapes]


def _attention(
    kernels: TorchKernels,
    device: str,
    dtype: torch.dtype,
    T: int,
    S: int,
    H: int,
    kv: int,
    D: int,
    rule: dict[str, Any],
) -> Check:
    q, k, v = draw(device, dtype, (2, T, H * D), (2, S, kv * D), (2, S, kv * D))
    options = dict(rule)
    mask = None
    if options.pop("key_mask", False):
        mask = torch.rand(2, S, generator=torch.Generator().manual_seed(1)) < 0.5
        mask[1] = False
        mask = mask.to(device)
    y = kernels.attention(q, k, v, H, kv, key_mask=mask, scale=D**-0.5, **options)
    allowed = allowed_pairs(T, S, device, **options)
    if mask is not None:
        allowed = allowed & mask[:, None, None, :]
    exact = softmax_attention(q.double(), k.double(), v.double(), H, kv, allowed)
    torch_error = (softmax_attention(q, k, v, H, kv, allowed).double() - exact).abs().max().item()
    name = (
        f"attention-T{T}-S{S}-H{H}.{kv}-D{D}-{'-'.join(f'{n}{v}' for n, v in rule.items()) or 'full'}-{dtype}"
    )
    return judge(name, y, exact, torch_error)


def _long_attention(kernels: TorchKernels, device: str, dtype: torch.dtype, rule: dict[str, Any]) -> Check:
    """Addresses beyond 2^31 bytes of scores, and sums of many terms."""
    H, D = 2, 64
    q, k, v = draw(device, dtype, *[(1, LONG, H * D)] * 3)
    y = kernels.attention(q, k, v, H, scale=D**-0.5, **rule)[:, -LAST_ROWS:]
    last, allowed = q[:, -LAST_ROWS:], allowed_pairs(LAST_ROWS, LONG, device, **rule)
    exact = softmax_attention(last.double(), k.double(), v.double(), H, H, allowed)
    torch_error = (softmax_attention(last, k, v, H, H, allowed).double() - exact).abs().max().item()
    return judge(
        f"attention-N{LONG}-{'-'.join(f'{n}{v}' for n, v in rule.items())}-{dtype}", y, exact, torch_error
    )


def allowed_pairs(
    T: int, S: int, device: str, causal: bool = False, window: int = 0, query_offset: int = -1
) -> torch.Tensor:
    i = torch.arange(T, device=device)[:, None] + (S - T if query_offset < 0 else query_offset)
    j = torch.arange(S, device=device)[None, :]
    allowed = torch.ones(T, S, dtype=torch.bool, device=device)
    if causal or window:
        allowed &= j <= i
    if window:
        allowed &= j > i - window
    return allowed


def softmax_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, H: int, kv: int, allowed: torch.Tensor
) -> torch.Tensor:
    """The definition in the tensors' own type; a row without keys gives 0."""
    B, T, _ = q.shape
    q, k, v = (x.reshape(B, x.shape[1], n, -1).transpose(1, 2) for x, n in ((q, H), (k, kv), (v, kv)))
    k, v = (x.repeat_interleave(H // kv, dim=1) for x in (k, v))
    scores = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).masked_fill(~allowed, -torch.inf)
    weights = torch.softmax(scores, dim=-1).nan_to_num(0.0)
    return (weights @ v).transpose(1, 2).reshape(B, T, -1)


def _block_linear(kernels: TorchKernels, device: str, dtype: torch.dtype, length: int, block: int) -> Check:
    H, D = 2, 32
    q, k, v = draw(device, dtype, *[(2, length, H * D)] * 3)
    y = kernels.block_linear(
        q, k, v, H, block, scale=D**-0.5, feature_map="elu1", normalizer="key_sum", eps=1e-8
    )
    exact = block_linear(q.double(), k.double(), v.double(), H, block)
    torch_error = (block_linear(q, k, v, H, block).double() - exact).abs().max().item()
    return judge(f"block_linear-N{length}-block{block}-{dtype}", y, exact, torch_error)


def block_linear(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, H: int, block: int) -> torch.Tensor:
    """The definition with elu + 1 and the key sum, as two masked products; the linear one in float32 at least."""
    B, N, _ = q.shape
    at = torch.arange(N, device=q.device) // block
    same = (at[:, None] == at[None, :]) & torch.ones(N, N, dtype=torch.bool, device=q.device).tril()
    intra = softmax_attention(q, k, v, H, H, same)
    wide = torch.promote_types(q.dtype, torch.float32)
    heads = [x.to(wide).reshape(B, N, H, -1).transpose(1, 2) for x in (q, k, v)]
    phi_q, phi_k = (torch.nn.functional.elu(x) + 1 for x in heads[:2])
    weights = (phi_q @ phi_k.transpose(-1, -2)) * (at[None, :] < at[:, None])
    inter = weights @ heads[2] / (weights.sum(-1, keepdim=True) + 1e-8)
    return intra + inter.transpose(1, 2).reshape(B, N, -1).to(q.dtype)


def judge(name: str, y: torch.Tensor, exact: torch.Tensor, torch_error: float) -> Check:
    """The rule of a parity report, with the floor of float32 whatever the tensors' type."""
    floor = compare.FLOOR_ULPS * EPS * exact.abs().max().item()
    return Check(name, (y.double() - exact).abs().max().item(), compare.TORCH_FACTOR * torch_error + floor)
