"""Every native kernel that takes a softmax, over given queries, keys and values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.numerics.one_node import Array, Node


@dataclass(frozen=True)
class Products:
    """Queries, keys and values `[B, rows, heads * D]` whose products are exact in float32, in any order of summation.

    Scores are 2^power * (4^common + an integer of a few hundred at most): one column of queries and of keys is
    2^common, the others hold -3 to 3, and both sides have their part of the power. So a score of any size has a near
    neighbour, and float64 knows every difference. Values are multiples of 1/8 from -1 to 1, in column 0 of each head 1.
    """

    power: int = 0
    common: int = 0
    dim: int = 16
    seed: int = 0

    def draw(
        self, batch: int, queries: int, keys: int, heads: int, kv_heads: int
    ) -> tuple[Array, Array, Array]:
        random = np.random.default_rng(self.seed)

        def factors(rows: int, heads: int, power: int) -> Array:
            x = random.integers(-3, 4, (batch, rows, heads, self.dim)).astype(np.float32)
            x[..., 0] = 2.0**self.common
            return (x * np.float32(2.0**power)).reshape(batch, rows, -1)

        v = random.integers(-8, 9, (batch, keys, kv_heads, self.dim)).astype(np.float32) / 8
        v[..., 0] = 1
        q, k = factors(queries, heads, self.power // 2), factors(keys, kv_heads, self.power - self.power // 2)
        return q, k, v.reshape(batch, keys, -1)

    @classmethod
    def fitting(cls, dtype: str, power: int, common: int, dim: int = 16, seed: int = 0) -> Products:
        """The power that is nearest to `power` in that type: float16 ends at 65504 and at 2^-24."""
        most, least = (2 * (15 - max(common, 2)), -28) if dtype == "float16" else (power, power)
        return cls(min(max(power, least), most), common, dim, seed)


def attend(
    p: Products, T: int, S: int, heads: int = 2, group: int = 1, masked: bool = False, **rule: int
) -> Node:
    q, k, v = p.draw(2, T, S, heads * group, heads)
    inputs = {"Q": q, "K": k, "V": v}
    if masked:
        inputs["key_mask"] = np.random.default_rng(p.seed).random((2, S)) < 0.6
    attributes: dict[str, Any] = {"num_heads": heads * group, "kv_num_heads": heads, "causal": 0, "window": 0}
    scale = float(np.float32(p.dim**-0.5))
    return Node("OnlineSoftmaxAttention", inputs, attributes | {"query_offset": -1, "scale": scale} | rule)


def block_linear(p: Products, T: int, block: int) -> Node:
    q, k, v = p.draw(2, T, T, 2, 2)
    attributes = {"num_heads": 2, "block_size": block, "scale": float(np.float32(p.dim**-0.5)), "eps": 1e-8}
    attributes |= {"feature_map": "elu1", "normalizer": "key_sum"}
    return Node("BlockLinearAttention", {"Q": q, "K": k, "V": v}, attributes)


def _ring(p: Products, rows: int, frames: int) -> dict[str, Array]:
    q, k, v = p.draw(2, 1, rows + 1, 2, 2)
    newest = np.concatenate([q, k[:, :1], v[:, :1]], axis=2)
    return {"QKV": newest, "Keys": k[:, 1:], "Values": v[:, 1:], "Frames": np.full((2, 1), frames, np.int64)}


def cached(p: Products, rows: int, frames: int) -> Node:
    attributes = {"num_heads": 2, "scale": float(np.float32(p.dim**-0.5))}
    return Node("CachedAttention", _ring(p, rows, frames), attributes)


def cached_linear(p: Products, rows: int, frames: int) -> Node:
    zeros = np.zeros((2, 2, p.dim, p.dim + 1), np.float32)
    attributes = {"num_heads": 2, "feature_map": "elu1", "normalizer": "key_sum", "eps": 1e-8}
    inputs = _ring(p, rows, frames) | {"Earlier": zeros, "Block": zeros, "Lost": zeros}
    return Node("CachedBlockLinearAttention", inputs, attributes)


NODES: dict[str, Callable[[Products], Node]] = {
    "window": lambda p: attend(p, 70, 70, window=9),
    "wide window": lambda p: attend(p, 90, 90, window=60, causal=1),
    "causal": lambda p: attend(p, 40, 40, causal=1),
    "several key tiles": lambda p: attend(p, 7, 600, group=2),
    "key mask": lambda p: attend(p, 20, 75, masked=True),
    "key mask and window": lambda p: attend(p, 75, 75, masked=True, window=20),
    "one row": lambda p: attend(p, 1, 70, causal=1),
    "one row of many keys": lambda p: attend(p, 1, 600),
    "one row of a mask": lambda p: attend(p, 1, 70, masked=True),
    "one block": lambda p: block_linear(p, 60, 60),
    "blocks": lambda p: block_linear(p, 70, 16),
    "long blocks": lambda p: block_linear(p, 330, 150),
    "stream": lambda p: cached(p, 37, 50),
    "stream of many keys": lambda p: cached(p, 300, 400),
    "stream that begins": lambda p: cached(p, 37, 5),
    "stream of blocks": lambda p: cached_linear(p, 37, 59),
}
