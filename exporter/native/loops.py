"""Loops over the axes of dense tensors, as few as the strides of what is read and written allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from temport.exporter.native.sizes import ONE, ZERO, Size, strides


@dataclass(frozen=True)
class Nest:
    """Axes, outermost first, and for each operand its strides along them in elements."""

    shape: tuple[Size, ...]
    strides: tuple[tuple[Size, ...], ...]

    @property
    def inner(self) -> Size:
        return self.shape[-1]

    def steps(self) -> tuple[Size, ...]:
        """Strides of the operands along the innermost axis."""
        return tuple(each[-1] for each in self.strides)

    def at(self, pointer: str, operand: int) -> str:
        """The pointer to what an operand has where the innermost loop begins."""
        terms = [
            f"i{axis}" if str(stride) == "1" else f"i{axis} * {stride}"
            for axis, stride in enumerate(self.strides[operand][:-1])
            if stride != ZERO
        ]
        return " + ".join([pointer, *terms])

    def around(self, lines: Sequence[str]) -> list[str]:
        """`lines`, which are the innermost loop, in the loops around it."""
        result = []
        for axis, size in enumerate(self.shape[:-1]):
            result.append("  " * axis + f"for (int64_t i{axis} = 0; i{axis} < {size}; ++i{axis})")
        depth = len(self.shape) - 1
        if depth and len(lines) > 1:
            result[-1] += " {"
        result += ["  " * depth + line for line in lines]
        if depth and len(lines) > 1:
            result.append("  " * (depth - 1) + "}")
        return result


def nest(shape: Sequence[Size], given: Sequence[Sequence[Size]]) -> Nest:
    """The loops over `shape` for operands with these strides: axes of size 1 left out, neighbours joined where they are
    one axis to every operand.
    """
    kept: list[tuple[Size, tuple[Size, ...]]] = []
    for axis, size in enumerate(shape):
        if size == ONE:
            continue
        along = tuple(each[axis] for each in given)
        if kept and kept[-1][1] == tuple(stride * size for stride in along):
            kept[-1] = (kept[-1][0] * size, along)
        else:
            kept.append((size, along))
    if not kept:
        kept.append((ONE, tuple(ONE for _ in given)))
    return Nest(
        tuple(size for size, _ in kept),
        tuple(tuple(along[i] for _, along in kept) for i in range(len(given))),
    )


def broadcast(shape: Sequence[Size], to: Sequence[Size]) -> tuple[Size, ...]:
    """The strides of a dense tensor of `shape` along the axes of `to`, to which it is broadcast."""
    own = strides(tuple(shape))
    missing = len(to) - len(shape)
    return tuple(
        ZERO if axis < missing or (shape[axis - missing] == ONE and size != ONE) else own[axis - missing]
        for axis, size in enumerate(to)
    )
