"""A user's own measure of what compression costs: a function of the compressed and the trained model's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

import numpy as np

from temport.exporter.declare.loading import load_factory
from temport.exporter.errors import UserError, users_code
from temport.exporter.runtimes.contract import Arrays

Function = Callable[[Arrays, Arrays], object]
"""Outputs by name, float64 and integer arrays, of the compressed and of the trained model -> a loss, one number."""


@dataclass(frozen=True)
class Metric:
    """The function, and what to call it: as it was named, or its own name."""

    name: str
    function: Function

    def __call__(self, stored: Arrays, trained: Arrays) -> float:
        """The loss of one case. UserError where the function raises, or gives no finite number."""
        given = [{name: np.array(array) for name, array in outputs.items()} for outputs in (stored, trained)]
        with users_code(f"--metric {self.name} fails"):
            loss = self.function(*given)
        if isinstance(loss, np.ndarray | np.generic) and loss.ndim == 0:
            loss = loss.item()
        if not isinstance(loss, Real):
            raise UserError(f"--metric {self.name} gives {type(loss).__name__}, and a loss is one number")
        if not math.isfinite(loss):
            raise UserError(f"--metric {self.name} gives {float(loss)}, and a loss is a finite number")
        return float(loss)


def metric_of(asked: str | Function | None) -> Metric | None:
    """`FILE.py:NAME`, `package.module:NAME` or the function itself. UserError for what cannot be loaded or called."""
    if asked is None:
        return None
    if isinstance(asked, str):
        return Metric(asked, load_factory(asked, "--metric"))
    if not callable(asked):
        raise UserError(f"--metric is {asked!r}; it wants FILE.py:NAME, or a function in Python")
    return Metric(getattr(asked, "__qualname__", type(asked).__qualname__), asked)
