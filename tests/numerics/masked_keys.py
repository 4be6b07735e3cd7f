"""Keys and values that hold NaN or infinity, and which rows may see them."""

from __future__ import annotations

import numpy as np

from temport.custom_ops.mask import MaskRule
from tests.numerics.one_node import Array, Node


def visible(node: Node) -> Array:
    """Which keys the definition lets a row see, `[batch, T, S]`; keys of earlier blocks reach it through the sums."""
    a, batch = node.attributes, len(node.inputs["Q"])
    T, S = node.inputs["Q"].shape[1], node.inputs["K"].shape[1]
    if node.op == "BlockLinearAttention":
        allowed = np.tril(np.ones((T, S), bool))
    else:
        offset = None if a["query_offset"] == -1 else a["query_offset"]
        allowed = MaskRule(bool(a["causal"]), a["window"], offset).array(T, S)
    mask = node.inputs.get("key_mask", np.ones((batch, S), bool))
    return allowed[None] & mask[:, None, :]


def poison_keys(node: Node, poison: float) -> Array:
    """Puts the poison into the last key, one in the middle and all masked ones, and into their values.

    Which rows of Y may see one of these, `[batch, T]`.
    """
    batch, S = node.inputs["K"].shape[:2]
    bad = ~node.inputs.get("key_mask", np.ones((batch, S), bool))
    bad[:, [S // 2, S - 1]] = True
    for name in "KV":
        node.inputs[name][bad] = poison
    seen: Array = (visible(node) & bad[:, None, :]).any(-1)
    return seen
