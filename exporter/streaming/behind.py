"""What a stream is behind its horizon: the traced graph, which has to say what the model says in front of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import onnx_ir as ir
import torch
from onnx import TensorProto
from torch import Tensor, nn

from temport.exporter.declare.call import own
from temport.exporter.declare.copied import held
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph.half_rows import PlainRows, round_rows
from temport.exporter.graph.retyped import FLOATS
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.passes.round_activations import round_activations
from temport.exporter.streaming.agreement import DRAWS, agree, apart, size
from temport.exporter.streaming.limited import limited
from temport.exporter.streaming.sequences import of_every_frame, sequence_graph
from temport.exporter.trace.in_float64 import in_float64

AGREES = 1e-6
"""How far, in units of their scale, the model and its graph may be from each other in float64."""
ROUNDED = 1e-7
"""Above it, numbers show that the graph of float32 holds as float32: a graph of float64 takes its place."""
Outputs = Sequence[Tensor]


class Behind(nn.Module):
    """Every output at each frame of a whole stream, as the graph of sequences gives it whose attention sees the last
    `horizon` frames.

    module   what the stream is made of, unchanged; `sequences` is its declaration
    horizon  0: attention has windows of its own
    halves   keys and values that rings hold in float16: the graph rounds them, and without that is what the model is
    """

    def __init__(
        self, module: nn.Module, sequences: Declaration, horizon: int, halves: Collection[str] = ()
    ) -> None:
        super().__init__()
        self.halves, self.names = halves, [spec.name for spec in sequences.outputs]
        self.graph = _graph(module, sequences, horizon, halves)
        self.exact = _Float64(module, sequences, horizon)
        self.leaning = False

    def is_source(self, model: nn.Module) -> bool:
        """Whether `model` is the module that was traced, in float64: its weights are as they were. Rounded ones, and
        those that are moved to see what rounding costs, are in the graph and in the model at different places.
        """
        told, found = held(own(self.exact.module)), held(own(model))
        return self.graph.kind.like.dtype == torch.float64 and all(
            bool(((found[n] == t) | (found[n] != found[n])).all()) for n, t in told.items()
        )

    def forward(
        self,
        first: Outputs | None,
        run: Callable[[nn.Module], Outputs],
        moved: Callable[[int], Outputs],
    ) -> Outputs:
        """The outputs at all frames.

        first  those of the model at the frames in front of the horizon, where it is the source in float64
        run    those of a graph
        moved  `first` of a model whose weights, and inputs, are off by what float64 rounds, drawn by a number

        UserError where the graph differs from the model.
        """
        if first is None:
            return run(self.graph)
        if self.leaning:  # the model leans to other sides
            return run(self.exact.graph or self.graph)
        with self.graph.operators(PlainRows) if self.halves else nullcontext():
            whole = run(self.graph)
        # asked of each stream anew, so that its truth does not depend on what was run before
        if (
            not self.halves  # whose names are those of this graph
            and not self._agree(first, whole, ROUNDED)
            and (exact := self.exact.traced())
        ):
            whole = run(exact)
        if not self._agree(first, whole, AGREES):
            self._check(first, whole, [moved(draw) for draw in range(DRAWS)])
        return run(self.graph) if self.halves else whole

    @contextmanager
    def leant(self) -> Iterator[None]:
        """For a while the graphs are not compared with the model, which rounds to other sides."""
        self.leaning = True
        try:
            yield
        finally:
            self.leaning = False

    def _agree(self, first: Outputs, whole: Outputs, relative: float) -> bool:
        return all(
            agree(mine, other[:, : mine.shape[1]], relative) for mine, other in zip(first, whole, strict=True)
        )

    def _check(self, first: Outputs, whole: Outputs, moved: Sequence[Outputs]) -> None:
        """UserError where an output is further off than rounding alone takes the model."""
        for place, (name, mine, other) in enumerate(zip(self.names, first, whole, strict=True)):
            found = other[:, : mine.shape[1]]
            if not agree(mine, found, AGREES, [outputs[place] for outputs in moved]):
                raise UserError(
                    f"the graph that was traced differs from the model by {apart(mine, found):.2g} in output {name}, "
                    f"whose largest value is {size(mine):.2g}, in the first {mine.shape[1]} frames, so what "
                    "a stream of it gives is not known; please report it"
                )


class _Float64:
    """The graph of the module in float64, traced where it is needed. Copies of a stream share it, whatever becomes of
    their weights.
    """

    def __init__(self, module: nn.Module, sequences: Declaration, horizon: int) -> None:
        self.module, self.sequences, self.horizon = module, sequences, horizon
        self.graph: OnnxModule | None = None

    def __deepcopy__(self, memo: Any) -> _Float64:
        return self

    def traced(self) -> OnnxModule | None:
        """None where the module cannot be traced in float64."""
        if self.graph is not None:
            return self.graph
        every = of_every_frame(self.module, self.sequences)
        try:
            self.graph = _graph(*in_float64(every, self.sequences), self.horizon).double()
        except UserError:
            return None
        return self.graph


def _graph(
    module: nn.Module, sequences: Declaration, horizon: int, halves: Collection[str] = ()
) -> OnnxModule:
    model = sequence_graph(module, sequences)
    if horizon:
        limited(model, horizon, sequences)
    if halves:
        round_rows(model, halves)
    if sequences.input_scales:
        round_activations(model)  # so that what rounds is found
    of_file = isinstance(own(module), OnnxModule)
    return OnnxModule(ir.to_proto(model), FLOATS if of_file else {TensorProto.FLOAT})
