"""What a small module of the list is, and what is right of its stream."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

FEATURES, WIDTH = 3, 4


@dataclass(frozen=True)
class CausalCase:
    """A module that is causal, or in one place is not.

    build    causal -> module
    breaks   the path of the layer that is not causal in `build(False)`, in the user's module
    delay    by how many frames its output must be late to be causal; None where no number is enough
    shapes   of the inputs, as `--shape` takes them
    horizon  whether it sees all frames before by attention, so that its stream has a horizon
    last     gives the last frame alone, so its truth is the module on every prefix
    """

    build: Callable[[bool], nn.Module]
    breaks: str
    delay: int | None = None
    shapes: tuple[str, ...] = (f"frames=batch,seq,{FEATURES}",)
    horizon: bool = False
    last: bool = False


def between(**layers: nn.Module) -> nn.Module:
    """`layers` by their names, `[batch, seq, WIDTH]` each, between a dense layer and a head."""
    named = OrderedDict(embed=nn.Linear(FEATURES, WIDTH), **layers, head=nn.Linear(WIDTH, 2))
    return nn.Sequential(named)
