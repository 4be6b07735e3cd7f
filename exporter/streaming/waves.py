"""Sines of positions that a stream counts: exact at every place of a stream, however large the angle.

No table reaches as far as a stream, and the sine of a large angle is lost in float32. So the position is cut into
three digits, position = a + 128 b + 128^2 c, and the sine of the sum of their angles is taken apart:
sin(A+B+C) = sinA cosB cosC + cosA sinB cosC + cosA cosB sinC - sinA sinB sinC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.streaming.step import Step

Array = npt.NDArray[Any]
RADIX, DIGITS = 128, 3
COUNTED_FRAMES = RADIX**DIGITS
"""Positions count modulo this: 2,097,152 frames, 9.7 hours at 60 frames a second."""
AGAIN = "positions count from 0 again"


@dataclass(frozen=True)
class Waves:
    """Column c at position t is `height * sin(speed[c] * t + phase[c])`; arrays are float64 `[columns]`."""

    speed: Array
    phase: Array
    height: float = 1.0

    def at(self, positions: Array) -> Array:
        """float64 `[positions, columns]`."""
        return np.asarray(self.height * np.sin(positions[:, None] * self.speed + self.phase))

    def factors(self) -> Array:
        """float64 `[3 * 128, 4, columns]`, of the four products above: row 128 n + i belongs to digit i at place n."""
        rows = []
        for place in range(DIGITS):
            angle = RADIX**place * np.arange(RADIX)[:, None] * self.speed + (0 if place else self.phase)
            sin, cos = np.sin(angle), np.cos(angle)
            height = 1.0 if place else self.height
            rows.append(
                height
                * np.stack(((sin, cos, cos, -sin), (cos, sin, cos, sin), (cos, cos, sin, sin))[place], 1)
            )
        return np.concatenate(rows)


def counted_waves(step: Step, waves: Waves, delay: int, dtype: ir.DataType, name: str) -> ir.Value:
    """`[batch, columns]`: the waves at the place of the entry that is held with `delay`."""
    step.limits.append((COUNTED_FRAMES, AGAIN))
    position = step.frames(delay)
    if delay > 0:
        position = step.add("Max", [position, step.integers(0)], [step.batch, 1], f"{name}/from_0")
    places = [RADIX**n for n in range(DIGITS)]
    row = [step.batch, DIGITS]
    # a remainder is not negative, so its truncated quotient is the digit
    rest = step.add("Mod", [position, step.integers(*(RADIX * p for p in places))], row, f"{name}/rest")
    digit = step.add("Div", [rest, step.integers(*places)], row, f"{name}/digit")
    index = step.add(
        "Add", [digit, step.integers(*(RADIX * n for n in range(DIGITS)))], row, f"{name}/digit/row"
    )
    table = step.constant(f"{name}/digits", waves.factors(), dtype.numpy())
    columns = len(waves.speed)
    factors = step.add(
        "Gather", [table, index], [step.batch, DIGITS, 4, columns], f"{name}/factors", {"axis": 0}
    )
    products = step.add(
        "ReduceProd",
        [factors, step.integers(1)],
        [step.batch, 4, columns],
        f"{name}/products",
        {"keepdims": 0},
    )
    return step.add(
        "ReduceSum", [products, step.integers(1)], [step.batch, columns], f"{name}/sum", {"keepdims": 0}
    )
