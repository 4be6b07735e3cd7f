"""Attributes of OnlineSoftmaxAttention, checked in this one place for the torch op, the node and the body."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from temport.custom_ops import attributes as check
from temport.custom_ops.mask import MaskRule

OP_NAME = "OnlineSoftmaxAttention"
ATTRIBUTE_NAMES = ("num_heads", "kv_num_heads", "causal", "window", "query_offset", "scale")


@dataclass(frozen=True)
class OnlineSoftmaxAttributes:
    """num_heads      heads H of Q
    kv_num_heads   heads Hkv of K and V, a divisor of H (query head h uses key head h // (H/Hkv)); None is H
    causal         keys later than the query are excluded
    window         number of keys a query sees including its own position; 0 is no limit
    query_offset   key position of query row 0; -1 is S - T
    scale          factor on QK^T; None is 1/sqrt(D)
    """

    num_heads: int
    kv_num_heads: int | None = None
    causal: bool = False
    window: int = 0
    query_offset: int = -1
    scale: float | None = None

    def __post_init__(self) -> None:
        check.integer(OP_NAME, "num_heads", self.num_heads, 1)
        if self.kv_num_heads is not None:
            check.integer(OP_NAME, "kv_num_heads", self.kv_num_heads, 1)
            if self.num_heads % self.kv_num_heads:
                raise ValueError(
                    f"{OP_NAME}: kv_num_heads is {self.kv_num_heads}; "
                    f"it must divide num_heads = {self.num_heads}."
                )
        check.flag(OP_NAME, "causal", self.causal)
        check.integer(OP_NAME, "window", self.window, 0)
        check.integer(OP_NAME, "query_offset", self.query_offset, -1)
        if self.scale is not None:
            check.number(OP_NAME, "scale", self.scale)

    @classmethod
    def parse(cls, attributes: Mapping[str, Any]) -> OnlineSoftmaxAttributes:
        """From a node's attributes; an absent one takes its default, an unknown one is an error."""
        values = check.known(OP_NAME, attributes, ATTRIBUTE_NAMES)
        if "num_heads" not in values:
            raise ValueError(f"{OP_NAME}: num_heads is missing; it must be an integer of at least 1.")
        return cls(**values)

    @property
    def kv_heads(self) -> int:
        """Hkv with its default resolved."""
        return self.num_heads if self.kv_num_heads is None else self.kv_num_heads

    def scale_for(self, head_dim: int) -> float:
        """`scale` with its default resolved."""
        return 1.0 / math.sqrt(head_dim) if self.scale is None else float(self.scale)

    @property
    def rule(self) -> MaskRule:
        """The mask rule of these attributes."""
        return MaskRule(
            bool(self.causal), self.window, None if self.query_offset == -1 else self.query_offset
        )
