"""Attributes of BlockLinearAttention, checked in this one place for the torch op, the node and the body."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from temport.custom_ops import attributes as check
from temport.custom_ops.layout import Layout

OP_NAME = "BlockLinearAttention"
ATTRIBUTE_NAMES = ("num_heads", "block_size", "scale", "feature_map", "normalizer", "eps")
FEATURE_MAPS = ("identity", "elu1")
NORMALIZERS = ("key_sum", "none")


@dataclass(frozen=True)
class BlockLinearAttributes:
    """num_heads     heads H of Q, K and V
    block_size    rows per block (the last block may be shorter)
    scale         factor on QK^T of the intra-block softmax; None is 1/sqrt(D); the linear part has none
    feature_map   phi of the linear part: `identity`, or `elu1` = elu(x) + 1
    normalizer    `key_sum` divides the linear part by phi(q).z + eps; `none` leaves the division out
    eps           added to that denominator; at least 1e-30, so that 0/0 cannot arise in float32
    """

    num_heads: int
    block_size: int
    scale: float | None = None
    feature_map: str = "identity"
    normalizer: str = "key_sum"
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check.integer(OP_NAME, "num_heads", self.num_heads, 1)
        check.integer(OP_NAME, "block_size", self.block_size, 1)
        if self.scale is not None:
            check.number(OP_NAME, "scale", self.scale)
        check.choice(OP_NAME, "feature_map", self.feature_map, FEATURE_MAPS)
        check.choice(OP_NAME, "normalizer", self.normalizer, NORMALIZERS)
        check.number(OP_NAME, "eps", self.eps, minimum=1e-30)

    @classmethod
    def parse(cls, attributes: Mapping[str, Any]) -> BlockLinearAttributes:
        """From a node's attributes; an absent one takes its default, an unknown one is an error."""
        values = check.known(OP_NAME, attributes, ATTRIBUTE_NAMES)
        for name in ("num_heads", "block_size"):
            if name not in values:
                raise ValueError(f"{OP_NAME}: {name} is missing; it must be an integer of at least 1.")
        return cls(**values)

    def scale_for(self, head_dim: int) -> float:
        """`scale` with its default resolved."""
        return 1.0 / math.sqrt(head_dim) if self.scale is None else float(self.scale)

    def check_lengths(self, layout: Layout) -> None:
        """Raise ValueError when T != S: blocks are cut from queries and keys at the same rows."""
        T, S = layout.query_length, layout.key_length
        if T is not None and S is not None and T != S:
            raise ValueError(f"{OP_NAME}: Q has {T} rows but K has {S}; they must be equal.")
