"""Call the kernel library through its C interface (`api.h`): addresses in, no framework needed.

An address is `tensor.data_ptr()` of a contiguous CUDA tensor, or `array.ctypes.data` for the emulated library.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

ELEMENT_TYPES = {"float32": 0, "float16": 1, "bfloat16": 2}

_POINTER, _I64, _I32, _F32 = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float


class _OnlineSoftmax(ctypes.Structure):
    _fields_ = (
        *((name, _POINTER) for name in ("q", "k", "v", "key_mask", "y")),
        *((name, _I64) for name in ("batch", "query_length", "key_length")),
        *((name, _I32) for name in ("element_type", "heads", "kv_heads", "head_dim", "value_dim", "causal")),
        ("window", _I64),
        ("query_offset", _I64),
        ("scale", _F32),
    )


class _BlockLinear(ctypes.Structure):
    _fields_ = (
        *((name, _POINTER) for name in ("q", "k", "v", "y", "workspace")),
        *((name, _I64) for name in ("batch", "length")),
        *((name, _I32) for name in ("element_type", "heads", "head_dim", "value_dim")),
        ("block_size", _I64),
        ("scale", _F32),
        ("elu1", _I32),
        ("key_sum", _I32),
        ("eps", _F32),
    )


@dataclass(frozen=True)
class Sizes:
    """Sizes of one call. `packed`: q holds `[B, T, (H + 2*Hkv)*D]`, k and v are not given."""

    batch: int
    query_length: int
    key_length: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    element_type: str


class CudaKernels:
    """The kernel library at `path`."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.temport_cuda_error.restype = ctypes.c_char_p
        self._library.temport_cuda_block_linear_workspace.restype = ctypes.c_size_t
        for name in ("temport_cuda_online_softmax", "temport_cuda_block_linear"):
            getattr(self._library, name).argtypes = (ctypes.c_void_p, ctypes.c_void_p)

    def online_softmax_attention(
        self,
        sizes: Sizes,
        q: int,
        k: int | None,
        v: int | None,
        key_mask: int | None,
        y: int,
        *,
        causal: bool = False,
        window: int = 0,
        query_offset: int = -1,
        scale: float,
        stream: int = 0,
    ) -> None:
        """Launch OnlineSoftmaxAttention on `stream`; raises ValueError for sizes the kernels do not take."""
        arguments = _OnlineSoftmax(
            q, k, v, key_mask, y, sizes.batch, sizes.query_length, sizes.key_length,
            ELEMENT_TYPES[sizes.element_type], sizes.heads, sizes.kv_heads, sizes.head_dim, sizes.value_dim,
            causal, window, query_offset, scale,
        )  # fmt: skip
        self._check(self._library.temport_cuda_online_softmax(ctypes.byref(arguments), stream or None))

    def block_linear_workspace(self, sizes: Sizes, block_size: int) -> int:
        """Bytes of device memory that `block_linear_attention` needs beside its tensors."""
        arguments = self._block_linear(
            sizes, None, None, None, None, None, block_size, 1.0, "identity", "none", 1.0
        )
        return int(self._library.temport_cuda_block_linear_workspace(ctypes.byref(arguments)))

    def block_linear_attention(
        self,
        sizes: Sizes,
        q: int,
        k: int | None,
        v: int | None,
        y: int,
        workspace: int,
        *,
        block_size: int,
        scale: float,
        feature_map: str = "identity",
        normalizer: str = "key_sum",
        eps: float = 1e-8,
        stream: int = 0,
    ) -> None:
        """Launch BlockLinearAttention on `stream`; raises ValueError for sizes the kernels do not take."""
        arguments = self._block_linear(
            sizes, q, k, v, y, workspace, block_size, scale, feature_map, normalizer, eps
        )
        self._check(self._library.temport_cuda_block_linear(ctypes.byref(arguments), stream or None))

    @staticmethod
    def _block_linear(
        sizes: Sizes,
        q: int | None,
        k: int | None,
        v: int | None,
        y: int | None,
        workspace: int | None,
        block_size: int,
        scale: float,
        feature_map: str,
        normalizer: str,
        eps: float,
    ) -> _BlockLinear:
        return _BlockLinear(
            q, k, v, y, workspace, sizes.batch, sizes.query_length, ELEMENT_TYPES[sizes.element_type],
            sizes.heads, sizes.head_dim, sizes.value_dim, block_size, scale, feature_map == "elu1",
            normalizer == "key_sum", eps,
        )  # fmt: skip

    def _check(self, code: int) -> None:
        if code < 0:
            raise ValueError(f"CUDA kernel: {self._library.temport_cuda_error(code).decode()}")
        if code > 0:
            raise RuntimeError(f"CUDA refused the launch with error {code}")
