"""What the roundings of a graph could decide otherwise: values next to the middle between two integers, or two halves.

`QuantizeLinear` makes a step of an error of the last digit where a value lies there, in a right runtime as in a wrong
one, and so does a ring of float16. So the graph is run with what it rounds moved at random by a few units in the last
place of the largest: what that changes is no error of a runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_div import Div
from torch import nn

from temport.exporter.graph.half_rows import HalfRows
from temport.exporter.graph.rounding import narrowed
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.parity.compare import EPS, FLOOR_ULPS
from temport.exporter.parity.rounded_inputs import leaning
from temport.exporter.runtimes.quantise import QuantizeLinear
from temport.exporter.streaming.oracle import WholeStream

DRAWS = 12
"""A value next to a middle falls to the other side in half of them."""
FACTOR = 2
"""Of the fixed part of the bound: a value inside the graph has the errors of the float32 source too."""
ROUNDS: tuple[type[OpRun], ...] = (QuantizeLinear, HalfRows)
"""Operators of a graph that make a step of a small difference, in the evaluator."""


def rounds(module: nn.Module) -> bool:
    """Whether the source is a graph, or asks one, that has such an operator."""
    return any(graph.holds(*(step.__name__ for step in ROUNDS)) for graph in _graphs(module))


@contextmanager
def decided_otherwise(module: nn.Module, draw: int) -> Iterator[None]:
    """For a while a source that rounds decides as float32 might: what a graph rounds is moved, and where a layer rounds
    what it takes a number next to a border goes to either side.
    """
    random = np.random.default_rng(draw)
    with ExitStack() as stack, leaning(module, draw):
        for graph in _graphs(module):
            moving = (_moving(step, random) for step in ROUNDS)
            stack.enter_context(graph.operators(*moving, _leaning(random, _quotients(graph))))
        if isinstance(module, WholeStream) and module.behind is not None:
            stack.enter_context(module.behind.leant())
        yield


def _graphs(module: nn.Module) -> list[OnnxModule]:
    parts = [part for part in module.modules() if isinstance(part, OnnxModule)]
    behind = module.behind if isinstance(module, WholeStream) else None
    return parts if behind is None or behind.exact.graph is None else [*parts, behind.exact.graph]


def _moving(step: type[OpRun], random: np.random.Generator) -> type[OpRun]:
    def run(self: OpRun, x: Any, *given: Any, **attributes: Any) -> Any:
        reach = FACTOR * FLOOR_ULPS * EPS["float32"] * np.abs(x).max(initial=0.0)
        moved = x + random.uniform(-1, 1, x.shape) * reach if np.isfinite(reach) else x
        return step._run(self, np.asarray(moved, x.dtype), *given, **attributes)

    return type(step.__name__, (step,), {"_run": run})  # the evaluator goes by the name


def _quotients(graph: OnnxModule) -> frozenset[str]:
    """What is divided by a scale and then rounded to int8 or fp8, as torch spells it."""
    held = {name: tensor.numpy() for name, tensor in graph.named_buffers()}
    spelled = onnx.ModelProto()
    spelled.CopyFrom(graph.model)
    spelled.graph.initializer.extend(
        numpy_helper.from_array(x, name) for name, x in held.items() if not x.ndim
    )
    spelled.graph.input.extend(onnx.ValueInfoProto(name=name) for name, x in held.items() if x.ndim)
    found = (narrowed(value) for node in ir.from_proto(spelled).graph for value in node.outputs)
    return frozenset(
        str(quotient.outputs[0].name) for quotient, _ in filter(None, found) if quotient.op_type == "Div"
    )


def _leaning(random: np.random.Generator, quotients: frozenset[str]) -> type[Div]:
    """The same as `leaning` does in a module, of what is divided for these."""

    class Leaning(Div):
        op_domain = ""

        def _run(self, x: Any, scale: Any) -> Any:
            reach = FLOOR_ULPS * EPS["float32"] * np.abs(x).max(initial=0.0)
            if self.onnx_node.output[0] in quotients and np.isfinite(reach):
                x = np.asarray(x + random.choice((-1, 1), x.shape) * reach, x.dtype)
            return super()._run(x, scale)

    Leaning.__name__ = Div.__name__
    return Leaning
