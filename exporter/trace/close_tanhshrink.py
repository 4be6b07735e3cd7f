"""torch's tanhshrink, traced without the difference of two numbers that are nearly equal.

x - tanh(x) is x^3 / 3 near 0, and a runtime whose tanh is off by two units in the last place has no digit of it right.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

NEAR = 1.0
ODD = (13.0, 11.0, 9.0, 7.0, 5.0, 3.0)
"""Of Gauss's continued fraction tanh(x) = x / (1 + x^2 / (3 + x^2 / ...)), to 1e-11 of x - tanh(x) up to `NEAR`."""

_theirs = F.tanhshrink


@contextlib.contextmanager
def close_tanhshrink() -> Iterator[None]:
    """While it lasts, `F.tanhshrink` and nn.Tanhshrink compute so."""
    F.tanhshrink = _tanhshrink
    try:
        yield
    finally:
        F.tanhshrink = _theirs


def _tanhshrink(input: Tensor) -> Tensor:
    square = input.clamp(-NEAR, NEAR).square()
    below = torch.full_like(square, ODD[0])
    for odd in ODD[1:]:
        below = odd + square / below
    part = square / below
    return torch.where(input.abs() < NEAR, input * (part / (1 + part)), input - input.tanh())
