"""Outputs that are integers or bools: a runtime has to give the same ones, wherever rounding does not decide them.

An index from an argmax flips where the two best scores are a rounding apart. Such an element is undecided: torch itself
gives another value for it on inputs that were moved by one unit in the last place, or in its own precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from temport.exporter.parity.result import Bound
from temport.exporter.runtimes.contract import Arrays

EXACT = Bound(0.0, 0.0, 0.0, None, judgeable=True)
"""No error at all is allowed."""


def exact_outputs(outputs: Arrays) -> list[str]:
    """Names of the outputs that are counted, not measured."""
    return [name for name, output in outputs.items() if output.dtype.kind in "biu"]


def undecided(truth: Arrays, others: Sequence[Arrays]) -> dict[str, npt.NDArray[np.bool_]]:
    """Where an integer or bool output is another one in some of `others`; only outputs where that is so."""
    found = {}
    for name in exact_outputs(truth):
        moved = np.zeros(truth[name].shape, bool)
        for other in others:
            moved |= other[name] != truth[name]
        if moved.any():
            found[name] = moved
    return found


def settled(actual: Arrays, truth: Arrays, open_ones: dict[str, npt.NDArray[np.bool_]]) -> Arrays:
    """What a runtime gave, with the truth in every undecided place."""
    fits = {
        name: mask for name, mask in open_ones.items() if name in actual and actual[name].shape == mask.shape
    }
    return actual | {name: np.where(mask, truth[name], actual[name]) for name, mask in fits.items()}


def difference(actual: npt.NDArray[np.float64], oracle: npt.NDArray[np.float64]) -> str:
    """What to say of an output that has to be equal and is not."""
    wrong = np.argwhere(actual != oracle)
    place = tuple(wrong[0])
    where = f" at {list(map(int, place))}" if place else ""
    return (
        f"{len(wrong)} of {oracle.size} values are other ones, though torch keeps them when its inputs move by a "
        f"rounding; the first{where} is {actual[place]:g} where {oracle[place]:g} is right"
    )
