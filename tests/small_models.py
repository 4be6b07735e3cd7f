"""The small models that every architecture names: what a new one is put through without a test of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.options import as_settings
from temport.graphs.architecture import Architecture, Options
from temport.graphs.registry import ARCHITECTURES
from tests.traces import declare_stream


@dataclass(frozen=True)
class SmallModel:
    """One architecture with some of its small options."""

    arch: Architecture
    variant: str
    options: Options

    def config(self, **more: Any) -> Any:
        return self.arch.config(**{**self.options, **more})

    def build(self, dtype: torch.dtype = torch.float32, **more: Any) -> Any:
        """In eval mode, weights by torch's generator."""
        return self.arch.build(self.config(**more)).to(dtype).eval()

    def inputs(
        self, batch: int = 3, seq: int = 61, memory: int = 9, dtype: torch.dtype = torch.float32
    ) -> list[Tensor]:
        sizes = {"batch": batch, "seq": seq, "memory": memory}
        shapes = [
            (spec.dtype, [sizes.get(a, a) for a in spec.axes]) for spec in self.arch.inputs(self.config())
        ]
        return [torch.rand(s) < 0.5 if kind == "bool" else torch.randn(s, dtype=dtype) for kind, s in shapes]

    def declare(self, *settings: str, **axes: Any) -> tuple[Declaration, nn.Module]:
        if not any("memory" in spec.axes for spec in self.arch.inputs(self.config())):
            axes.pop("memory", None)
        declaration, module, _ = declare(self.arch.name, [*as_settings(self.options), *settings], **axes)
        return declaration, module

    def declare_stream(self, **axes: Any) -> tuple[Declaration, nn.Module]:
        declaration, module = self.declare(**axes)
        return declare_stream(declaration, module), module


SMALL = {
    f"{arch.name}-{variant}".removesuffix("-"): SmallModel(arch, variant, options)
    for arch in ARCHITECTURES.values()
    for variant, options in arch.small.items()
}
SEQUENCES = [name for name, small in SMALL.items() if hasattr(small.build(), "forward_sequence")]
"""Models of one input `[batch, seq, features]` that give an output at every frame."""
NOT_PRUNED: dict[str, str] = {}
"""Models of sequences that pruning cannot shorten, with what stops it; all others have to be pruned."""
PRUNED = [name for name in SEQUENCES if name not in NOT_PRUNED]
NOT_STREAMING = {
    "mega-l1": "compares each frame with each other",
    "dms-masked": "carries nothing from frame to frame",
    "dms-causal": "compares places of frames with those of a static input",
}
"""Models that do not run frame by frame, with what an export says of them; all others have to."""
STREAMING = [name for name in SMALL if name not in NOT_STREAMING]
FIXED: dict[str, Any] = {"batch": "2", "seq": "41", "memory": "23", "opset": 20}
"""Axes of a model that several files trace, and share the trace (tests/traces.py)."""
OPEN = {"batch": "1:2:3", "seq": "1:20:61", "memory": "1:13:61"}
"""Likewise, all of them open."""
FEW = ("sliding_window", "hybrid", "mega-softmax", "lightning-elu1", "dms-masked")
"""One model of each kind of layer: a window, an LSTM, moving averages, a linear branch, two lengths and a mask."""


def thorough_but(every: Iterable[str], first: Iterable[str] = FEW) -> list[Any]:
    """Parameters of a test: the `first` in every run, the others in the tier `thorough` alone."""
    return [name if name in first else pytest.param(name, marks=pytest.mark.thorough) for name in every]
