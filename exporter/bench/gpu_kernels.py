"""Our CUDA kernels on torch tensors; beside torch nothing is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from temport.custom_ops.cuda import build as cuda
from temport.custom_ops.cuda import library


def has_compiler() -> bool:
    """Whether nvcc is on this machine."""
    return cuda.nvcc() is not None


def build(out: Path, capability: tuple[int, int] | None) -> Path:
    """Compile for one device (major, minor), or for the host's emulated threads where it is None."""
    if capability is None:
        return Path(cuda.build_emulated(out))
    return Path(cuda.build_cuda(out, (f"{capability[0]}{capability[1]}",)))


class TorchKernels:
    """The library at `path`; tensors are contiguous `[B, N, H*D]` on its device."""

    def __init__(self, path: Path) -> None:
        self._kernels = library.CudaKernels(path)

    def attention(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        heads: int,
        kv_heads: int | None = None,
        **rule: Any,
    ) -> torch.Tensor:
        """OnlineSoftmaxAttention on the current stream; `rule`: causal, window, query_offset, key_mask,
        scale."""
        sizes = self._sizes(q, k, v, heads, kv_heads or heads)
        y = q.new_empty(*q.shape[:2], heads * sizes.value_dim)
        mask = rule.pop("key_mask", None)
        self._kernels.online_softmax_attention(
            sizes, q.data_ptr(), k.data_ptr(), v.data_ptr(), None if mask is None else mask.data_ptr(),
            y.data_ptr(), stream=_stream(q), **rule,
        )  # fmt: skip
        return y

    def block_linear(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, block_size: int, **options: Any
    ) -> torch.Tensor:
        """BlockLinearAttention on the current stream."""
        sizes = self._sizes(q, k, v, heads, heads)
        y = q.new_empty(*q.shape[:2], heads * sizes.value_dim)
        needed = self._kernels.block_linear_workspace(sizes, block_size)
        workspace = torch.empty(needed // 4 + 1, device=q.device)
        self._kernels.block_linear_attention(
            sizes, q.data_ptr(), k.data_ptr(), v.data_ptr(), y.data_ptr(), workspace.data_ptr(),
            block_size=block_size, stream=_stream(q), **options,
        )  # fmt: skip
        return y

    def _sizes(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, kv_heads: int) -> Any:
        element = str(q.dtype).removeprefix("torch.")
        dims = q.shape[2] // heads, v.shape[2] // kv_heads
        return library.Sizes(q.shape[0], q.shape[1], k.shape[1], heads, kv_heads, *dims, element)


def _stream(tensor: torch.Tensor) -> int:
    return torch.cuda.current_stream().cuda_stream if tensor.is_cuda else 0
