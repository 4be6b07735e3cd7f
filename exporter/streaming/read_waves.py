"""What a table of positions is known by: its numbers are the sines and cosines of one of the usual ladders of speeds.

    geometric   speed[j] = base^(-j / m), as in Vaswani et al. 2017 (m half the width) and in tensor2tensor (m one less)
    hyperbolic  speed[j] = 1 / (1 + scale * j), the one of this package

Base and scale are read from the second row, to four digits; that they are right, and that the table is such a one at
all, every number of the table has to say. Columns may lie in any order: those that begin at 0 are sines, those that
begin at their height are cosines, each in the order of the ladder.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.streaming.waves import Waves

Array = npt.NDArray[Any]
UNIT = 2.0**-23
"""Two roundings of float32, of the height: how far a table may be that was computed exactly and rounded."""
ANGLE = 1e-6
"""How far the angles of a table may be, of themselves, that was computed in float32."""
FEWEST = 8
"""Rows that a table has to have to be known."""


def read_waves(table: Array) -> tuple[Waves, bool] | None:
    """The waves of `[positions, columns]`, and whether they are its numbers as exactly as float32 says them; where they
    are not, its angles were rounded. None of another table.
    """
    if table.dtype.kind != "f" or len(table) < FEWEST:
        return None
    numbers = table.astype(np.float64)
    first, height = numbers[0], float(np.abs(numbers[0]).max(initial=0)) or 1.0
    sines, cosines = np.abs(first) <= UNIT * height, np.abs(first - height) <= UNIT * height
    if not sines.any() or not (sines | cosines).all():
        return None
    positions = np.arange(len(table), dtype=np.float64)
    for ladder in _ladders(numbers[1, sines] / height, table.shape[1], max(sines.sum(), cosines.sum())):
        speed, phase = np.empty(table.shape[1]), np.where(cosines, np.pi / 2, 0.0)
        speed[sines], speed[cosines] = ladder[: sines.sum()], ladder[: cosines.sum()]
        waves = Waves(speed, phase, height)
        off = np.abs(waves.at(positions) - numbers)
        if (off <= UNIT * height).all():
            return waves, True
        if (off <= height * (UNIT + ANGLE * positions[:, None] * speed)).all():
            return waves, False
    return None


def _ladders(sines: Array, width: int, count: int) -> Iterator[Array]:
    """Speeds `[count]` of the ladders on which waves with these values at position 1 may be."""
    if not ((sines > 0) & (sines < 1)).all():
        return
    found, steps = np.arcsin(sines), np.arange(len(sines))
    every = np.arange(count)
    weight = max(float((steps**2).sum()), 1.0)
    fall = float((steps * -np.log(found)).sum()) / weight
    for spread in (width / 2, len(sines) - 1):
        if 0 < fall * spread < 100 or len(sines) == 1:
            yield _four_digits(np.exp(fall * spread)) ** (-every / max(spread, 1))
    yield 1 / (1 + _four_digits(float((steps * (1 / found - 1)).sum()) / weight) * every)


def _four_digits(number: float) -> float:
    return float(f"{number:.4g}")
