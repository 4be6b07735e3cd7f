"""What `temport bench ops` measures: attention problems with packed inputs, and how much arithmetic each must do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.custom_ops.mask import MaskRule
from temport.custom_ops.op import CustomOp
from temport.custom_ops.table import OPS
from temport.exporter.errors import UserError


@dataclass(frozen=True)
class OpCase:
    """One op at batch 1 and one length, float32, heads contiguous in packed QKV `[1, length, 3*heads*dim]`.

    window   keys per query, 0 for full causal attention; block > 0 makes it BlockLinearAttention
    """

    family: str
    length: int
    heads: int = 4
    dim: int = 64
    window: int = 0
    block: int = 0

    def __str__(self) -> str:
        return f"{self.family}, length {self.length}"

    @property
    def op(self) -> CustomOp:
        return OPS["BlockLinearAttention" if self.block else "OnlineSoftmaxAttention"]

    @property
    def scale(self) -> float:
        return float(np.float32(self.dim**-0.5))

    @property
    def attributes(self) -> dict[str, Any]:
        """Every attribute of the node."""
        if self.block:
            return {
                "num_heads": self.heads,
                "block_size": self.block,
                "scale": self.scale,
                "feature_map": "elu1",
                "normalizer": "key_sum",
                "eps": 1e-8,
            }
        return {
            "num_heads": self.heads,
            "kv_num_heads": self.heads,
            "causal": 1,
            "window": self.window,
            "query_offset": -1,
            "scale": self.scale,
        }

    @property
    def rule(self) -> MaskRule:
        return MaskRule(causal=True, window=self.window)

    @property
    def useful_flops(self) -> int:
        """Two operations per multiply-add that the definition needs, products of excluded keys not counted.

        Attention: q.k and p.v for every allowed pair. Block-linear: the same inside blocks, then phi(q) S for rows
        after the first block and phi(k)^T v for rows before the last; exponentials and sums are not counted.
        """
        rows = np.arange(self.length, dtype=np.int64)
        if not self.block:
            pairs = int(np.minimum(rows + 1, self.window or self.length).sum())
            return 4 * self.heads * self.dim * pairs
        inside = int((rows % self.block + 1).sum())
        last = (self.length - 1) // self.block * self.block
        linear = max(0, self.length - self.block) + last
        return 4 * self.heads * self.dim * inside + 2 * self.heads * self.dim**2 * linear

    @cached_property
    def qkv(self) -> npt.NDArray[np.float32]:
        """Standard normal packed QKV, the same for every contender."""
        width = 3 * self.heads * self.dim
        return np.random.default_rng(0).standard_normal((1, self.length, width), dtype=np.float32)

    @property
    def by_head(self) -> list[npt.NDArray[np.float32]]:
        """Q, K and V as contiguous `[1, heads, length, dim]`."""
        split = self.qkv.reshape(1, self.length, 3, self.heads, self.dim)
        return [np.ascontiguousarray(split[:, :, i].transpose(0, 2, 1, 3)) for i in range(3)]


FAMILIES: dict[str, dict[str, int]] = {"window": {"window": 60}, "causal": {}, "block_linear": {"block": 64}}
LENGTHS = {"window": (60, 512, 2048, 8192), "causal": (512, 2048), "block_linear": (512, 2048, 8192)}


def cases(families: Sequence[str], lengths: Sequence[int]) -> list[OpCase]:
    """The chosen families at the chosen lengths; empty lists mean all of them."""
    for family in families:
        if family not in FAMILIES:
            raise UserError(f"Unknown op case {family!r}; the cases are {', '.join(FAMILIES)}.")
    if any(n < 1 for n in lengths):
        raise UserError(f"Length {min(lengths)} is no sequence length; it must be at least 1.")
    chosen = families or list(FAMILIES)
    return [OpCase(f, n, **FAMILIES[f]) for f in chosen for n in lengths or LENGTHS[f]]
