"""Shapes of the ops that keep the last frames of a stream in a ring: frame n stands in row n modulo N."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ring:
    """Sizes read from the caches `[batch, capacity, width]`; None where shape inference does not know one.

    Sizes may also be torch's symbolic integers or ONNX's symbols, hence `Any`.
    """

    batch: Any
    capacity: Any
    width: Any


def read_ring(
    op: str,
    qkv: Sequence[Any],
    keys: Sequence[Any],
    values: Sequence[Any],
    frames: Sequence[Any],
    *,
    num_heads: int,
) -> Ring:
    """Sizes for QKV `[B, 1, 3*C]` or `[B, 3*C]`, Keys and Values `[B, N, C]`, Frames `[B, 1]`; num_heads divides C.

    Raises ValueError with one sentence when the shapes do not fit each other or the head count.
    """
    if len(keys) != 3:
        raise ValueError(f"{op}: Keys has shape {_show(keys)}; it must be [batch, capacity, width].")
    batch, capacity, width = keys
    if _known(capacity) and capacity == 0:
        raise ValueError(f"{op}: Keys has no rows; it needs one for each frame that is kept.")
    if _known(width) and (width == 0 or width % num_heads):
        raise ValueError(
            f"{op}: the last axis of Keys is {width}; it must be a positive multiple of num_heads = {num_heads}."
        )
    expected = {
        "QKV": (qkv, [batch, *[1] * (len(qkv) != 2), 3 * width if _known(width) else None]),
        "Values": (values, [batch, capacity, width]),
        "Frames": (frames, [batch, 1]),
    }
    for name, (shape, wanted) in expected.items():
        if not _fits(shape, wanted):
            raise ValueError(
                f"{op}: {name} has shape {_show(shape)}; with Keys {_show(keys)} it must be {_show(wanted)}."
            )
    return Ring(batch, capacity, width)


def check_sums(op: str, ring: Ring, num_heads: int, **sums: Sequence[Any]) -> None:
    """Raise ValueError where sums of phi(k)^T [v 1], by name, are not `[B, H, D, D+1]`."""
    head_dim = ring.width // num_heads if _known(ring.width) else None
    wanted = [ring.batch, num_heads, head_dim, None if head_dim is None else head_dim + 1]
    for name, shape in sums.items():
        if not _fits(shape, wanted):
            raise ValueError(f"{op}: {name} has shape {_show(shape)}; it must be {_show(wanted)}.")


def _fits(shape: Sequence[Any], wanted: Sequence[Any]) -> bool:
    return len(shape) == len(wanted) and not any(
        _known(size) and _known(want) and size != want for size, want in zip(shape, wanted, strict=True)
    )


def _known(size: Any) -> bool:
    return size is not None and not isinstance(size, str)


def _show(shape: Sequence[Any]) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"
