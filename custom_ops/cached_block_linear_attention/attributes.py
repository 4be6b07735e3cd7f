"""Attributes of CachedBlockLinearAttention, checked in this one place for the torch op, the node and the body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from temport.custom_ops import attributes as check
from temport.custom_ops.block_linear_attention.attributes import FEATURE_MAPS, NORMALIZERS

OP_NAME = "CachedBlockLinearAttention"
ATTRIBUTE_NAMES = ("num_heads", "feature_map", "normalizer", "eps")


@dataclass(frozen=True)
class CachedBlockLinearAttributes:
    """num_heads     heads H of queries, keys and values
    feature_map   phi of the linear part: `identity`, or `elu1` = elu(x) + 1
    normalizer    `key_sum` divides the linear part by phi(q).z + eps; `none` leaves the division out
    eps           added to that denominator; at least 1e-30, so that 0/0 cannot arise in float32

    The softmax part has the scale 1/sqrt(D), and a block as many rows as the caches.
    """

    num_heads: int
    feature_map: str = "identity"
    normalizer: str = "key_sum"
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check.integer(OP_NAME, "num_heads", self.num_heads, 1)
        check.choice(OP_NAME, "feature_map", self.feature_map, FEATURE_MAPS)
        check.choice(OP_NAME, "normalizer", self.normalizer, NORMALIZERS)
        check.number(OP_NAME, "eps", self.eps, minimum=1e-30)

    @classmethod
    def parse(cls, attributes: Mapping[str, Any]) -> CachedBlockLinearAttributes:
        """From a node's attributes; an absent one takes its default, an unknown one is an error."""
        values = check.known(OP_NAME, attributes, ATTRIBUTE_NAMES)
        if "num_heads" not in values:
            raise ValueError(f"{OP_NAME}: num_heads is missing; it must be an integer of at least 1.")
        return cls(**values)
