"""A module whose layers round what they take to int8 or fp8 times a scale: as the file says, or as float32 might."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from temport.exporter.graph.rounding import ENDS
from temport.exporter.parity.compare import EPS, FLOOR_ULPS


def rounded(x: Tensor, scale: float, kind: str = "int8") -> Tensor:
    """`scale` times the numbers of the type next to `x / scale`, ties to even."""
    if kind == "fp8":
        return torch.clamp(x / scale, *ENDS[kind]).to(torch.float8_e4m3fn).to(x.dtype) * scale
    return torch.clamp(torch.round(x / scale), *ENDS[kind]) * scale


@contextmanager
def leaning(module: nn.Module, draw: int) -> Iterator[None]:
    """What rounds in `module`, which is in float64, decides for a while as float32 might: a number that is no further
    from the border between two numbers of the type than float32 may be off goes to either side, drawn by `draw`.
    """
    hooks = [
        hook
        for part in module.modules()
        for hook in part._forward_pre_hooks.values()
        if isinstance(hook, Rounding)
    ]
    generator = torch.Generator().manual_seed(draw)
    for hook in hooks:
        hook.generator = generator
    try:
        yield
    finally:
        for hook in hooks:
            hook.generator = None


class Rounding:
    """A pre-hook with keywords; a class, since copies of a module take their hooks along."""

    def __init__(self, scale: float, kind: str) -> None:
        self.scale, self.kind = scale, kind
        self.generator: torch.Generator | None = None

    def __call__(
        self, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x = inputs[0] if inputs else named["input"]
        if self.generator is not None and x.numel():
            sides = torch.randint(0, 2, x.shape, generator=self.generator) * 2 - 1
            x = x + sides * (FLOOR_ULPS * EPS["float32"] * float(x.detach().abs().max()))
        return (rounded(x, self.scale, self.kind),), {}
