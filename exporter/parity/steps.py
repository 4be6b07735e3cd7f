"""What the roundings of a quantised graph could decide otherwise: values next to the middle between two integers.

`QuantizeLinear` makes a step of an error of the last digit where a value lies there, in a right runtime as in a wrong
one. So the graph is run with what it quantises moved at random by a few units in the last place of the largest: what
that changes is no error of a runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from torch import nn

from temport.exporter.declare.call import own
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.parity.compare import EPS, FLOOR_ULPS
from temport.exporter.parity.rounded_inputs import leaning
from temport.exporter.runtimes.quantise import QuantizeLinear
from temport.exporter.streaming.oracle import WholeStream

DRAWS = 12
"""A value next to a middle falls to the other side in half of them."""
FACTOR = 2
"""Of the fixed part of the bound: a value inside the graph has the errors of the float32 source too."""


def quantises(module: nn.Module) -> bool:
    """Whether the source is a graph that makes integers of floats by a scale."""
    source = _source(module)
    return isinstance(source, OnnxModule) and source.quantises


@contextmanager
def decided_otherwise(module: nn.Module, draw: int) -> Iterator[None]:
    """For a while a source that rounds to integers decides as float32 might: what a graph quantises is moved, and in a
    module a number next to a border goes to either side.
    """
    source, moving = _source(module), _moving(np.random.default_rng(draw))
    with ExitStack() as stack:
        stack.enter_context(
            source.operators(moving) if isinstance(source, OnnxModule) else leaning(source, draw)
        )
        if isinstance(module, WholeStream) and module.behind is not None:
            stack.enter_context(module.behind.leant(moving))
        yield


def _source(module: nn.Module) -> nn.Module:
    return own(module.model if isinstance(module, WholeStream) else module)


def _moving(random: np.random.Generator) -> type[QuantizeLinear]:
    class Moving(QuantizeLinear):
        def _run(self, x: Any, *given: Any, **attributes: Any) -> Any:  # type: ignore[override]
            reach = FACTOR * FLOOR_ULPS * EPS["float32"] * np.abs(x).max(initial=0.0)
            moved = x + random.uniform(-1, 1, x.shape) * reach if np.isfinite(reach) else x
            return super()._run(np.asarray(moved, x.dtype), *given, **attributes)

    Moving.__name__ = QuantizeLinear.__name__  # the evaluator goes by it
    return Moving
