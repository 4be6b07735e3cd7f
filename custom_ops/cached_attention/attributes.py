"""Attributes of CachedAttention, checked in this one place for the torch op, the node and the body."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from temport.custom_ops import attributes as check

OP_NAME = "CachedAttention"
ATTRIBUTE_NAMES = ("num_heads", "scale")


@dataclass(frozen=True)
class CachedAttentionAttributes:
    """num_heads   heads H of queries, keys and values
    scale       factor on q k^T; None is 1/sqrt(D)
    """

    num_heads: int
    scale: float | None = None

    def __post_init__(self) -> None:
        check.integer(OP_NAME, "num_heads", self.num_heads, 1)
        if self.scale is not None:
            check.number(OP_NAME, "scale", self.scale)

    @classmethod
    def parse(cls, attributes: Mapping[str, Any]) -> CachedAttentionAttributes:
        """From a node's attributes; an absent one takes its default, an unknown one is an error."""
        values = check.known(OP_NAME, attributes, ATTRIBUTE_NAMES)
        if "num_heads" not in values:
            raise ValueError(f"{OP_NAME}: num_heads is missing; it must be an integer of at least 1.")
        return cls(**values)

    def scale_for(self, head_dim: int) -> float:
        """`scale` with its default resolved."""
        return 1.0 / math.sqrt(head_dim) if self.scale is None else float(self.scale)
