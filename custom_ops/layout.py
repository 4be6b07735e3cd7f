"""Sizes of the op inputs: heads are contiguous chunks of the last axis, and Q may carry packed Q, K and V."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Layout:
    """Sizes read from the input shapes; a size that shape inference does not know is None.

    Sizes may also be torch's symbolic integers, hence `Any`.

    packed      Q is `[B, T, (H + 2*Hkv)*D]`, ordered queries, keys, values; K and V are absent and S = T
    """

    batch: Any
    query_length: Any
    key_length: Any
    head_dim: Any
    value_dim: Any
    packed: bool


def read_layout(
    op: str,
    q: Sequence[Any],
    k: Sequence[Any] | None,
    v: Sequence[Any] | None,
    *,
    num_heads: int,
    kv_num_heads: int,
    key_mask: Sequence[Any] | None = None,
) -> Layout:
    """Sizes for Q `[B, T, H*D]`, K `[B, S, Hkv*D]`, V `[B, S, Hkv*Dv]`, key_mask `[B, S]`, or packed Q alone.

    Raises ValueError with one sentence when the shapes do not fit each other or the head counts.
    """
    for name, shape, rank in (("Q", q, 3), ("K", k, 3), ("V", v, 3), ("key_mask", key_mask, 2)):
        if shape is not None and len(shape) != rank:
            raise ValueError(f"{op}: {name} has shape {_show(shape)}; it must have {rank} axes.")
    if (k is None) != (v is None):
        raise ValueError(f"{op}: K and V must both be given, or both be left out with Q carrying packed QKV.")
    if k is None or v is None:
        head_dim = _per_head(op, "packed Q", q, num_heads + 2 * kv_num_heads, "num_heads + 2*kv_num_heads")
        layout = Layout(q[0], q[1], q[1], head_dim, head_dim, packed=True)
    else:
        head_dim = _per_head(op, "Q", q, num_heads, "num_heads")
        key_dim = _per_head(op, "K", k, kv_num_heads, "kv_num_heads")
        if head_dim is None:
            head_dim = key_dim
        _agree(op, "the head dim of Q", head_dim, "the head dim of K", key_dim)
        _agree(op, "the batch of Q", q[0], "the batch of K", k[0])
        _agree(op, "the batch of K", k[0], "the batch of V", v[0])
        _agree(op, "the length of K", k[1], "the length of V", v[1])
        value_dim = _per_head(op, "V", v, kv_num_heads, "kv_num_heads")
        layout = Layout(q[0], q[1], k[1], head_dim, value_dim, packed=False)
    if key_mask is not None:
        _agree(op, "the batch of Q", layout.batch, "the batch of key_mask", key_mask[0])
        _agree(op, "the number of keys", layout.key_length, "the length of key_mask", key_mask[1])
    return layout


def _per_head(op: str, name: str, shape: Sequence[Any], heads: int, heads_name: str) -> Any:
    width = shape[2]
    if width is None:
        return None
    if width % heads != 0 or width == 0:
        raise ValueError(
            f"{op}: the last axis of {name} is {width}; "
            f"it must be a positive multiple of {heads_name} = {heads}."
        )
    return width // heads


def _agree(op: str, one: str, a: Any, other: str, b: Any) -> None:
    if a is not None and b is not None and a != b:
        raise ValueError(f"{op}: {one} is {a} but {other} is {b}; they must be equal.")


def _show(shape: Sequence[Any]) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"
