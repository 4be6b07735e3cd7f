"""The truth of a stream: the model of sequences itself, on all frames at once or on those so far.

An output that has every frame is that frame of one run. One that has the last frame only is what the model gives
for the frames so far, at each of them; that of a window is what it gives for the last frames. Where attention has no
window, the stream is the model for the first `horizon` frames; what it is from then on, the graph of sequences says,
with that window in its attention. Both have to agree on the first frames.

Where rings are float16 the graph of sequences says it all, its keys and values rounded; without that rounding it has to
agree with the model.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph.attention import Attention
from temport.exporter.graph.half_rows import PlainRows, round_rows
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.passes.round_activations import round_activations
from temport.exporter.streaming.ages import attention_by_age, scoring
from temport.exporter.streaming.declare import entries_of
from temport.exporter.streaming.half_rings import HALF
from temport.exporter.streaming.limit_masks import limit_masks
from temport.exporter.streaming.open_sizes import name_open_sizes
from temport.exporter.streaming.sequences import of_every_frame, of_sequences, sequence_graph, step_of
from temport.exporter.streaming.shapes import TIME, along_time, entries, extra

AT_END = -1
"""The offset of queries whose last is the newest key."""
AGREES = 1e-6
"""How far, in units of their scale, the model and its graph may be from each other in float64."""


class WholeStream(nn.Module):
    """Whole streams `[batch, frames, ...]`, one for each input of a step -> `[batch, frames, ...]` for each output."""

    def __init__(self, module: nn.Module, declaration: Declaration) -> None:
        super().__init__()
        self.told, self.horizon = declaration.sequences, declaration.horizon
        sequences, self.limited = of_sequences(declaration), None
        streamed = module if self.told and self.told.window else of_every_frame(module, sequences)
        self.model = copy.deepcopy(streamed)
        self.rounded = None
        if self.horizon:
            graph = limited(sequence_graph(module, sequences), self.horizon, sequences)
            self.limited = OnnxModule(ir.to_proto(graph))
        if declaration.kv_dtype == HALF:
            graph = sequence_graph(module, sequences)
            if self.horizon:
                limited(graph, self.horizon, sequences)
            round_rows(graph, step_of(module, declaration).halves)
            if declaration.input_scales:
                round_activations(
                    graph
                )  # as the operator that is moved to show what rounding may decide otherwise
            self.rounded = OnnxModule(ir.to_proto(graph))
        self.train(module.training)

    def forward(self, *streams: Tensor) -> tuple[Tensor, ...]:
        frames = streams[0].shape[1]
        inputs = self._sequences(streams)
        if self.told is not None and self.told.window:
            return self._windows(inputs, frames, self.told.window)
        if self.rounded is not None:
            if streams[0].dtype == torch.float64 and not self.rounded.replaced:
                with self.rounded.operators(PlainRows):
                    self._check_graph(self.rounded, inputs, frames)
            return self._run(self.rounded, inputs, range(frames))
        if self.limited is None or frames <= self.horizon:
            return self._run(self.model, inputs, range(frames))
        first = self._run(self.model, inputs, range(self.horizon))
        whole = self._run(self.limited, inputs, range(frames))
        for own, other in zip(first, whole, strict=True):
            self._check(own, other[:, : self.horizon])
        return tuple(
            torch.cat((a, b[:, self.horizon :].to(a.dtype)), dim=1) for a, b in zip(first, whole, strict=True)
        )

    def _sequences(self, streams: Sequence[Tensor]) -> list[tuple[Tensor, int | None]]:
        """Each input as the model takes it, and its axis of time; a static input is that of the first frame."""
        assert self.told is not None
        found: list[tuple[Tensor, int | None]] = []
        for spec, stream in zip(self.told.inputs, streams, strict=True):
            axis = next((i for i, d in enumerate(spec.shape) if getattr(d, "name", None) == TIME), None)
            if axis is None:
                sizes = [stream.shape[0], *(d if isinstance(d, int) else d.opt for d in spec.shape[1:])]
                found.append((stream[:, 0].reshape(sizes), None))
                continue
            others = [
                d if isinstance(d, int) else d.opt for i, d in enumerate(spec.shape) if i not in (0, axis)
            ]
            frames_second = stream.reshape(stream.shape[0], stream.shape[1], *others)
            found.append((frames_second.movedim(1, axis), axis))
        return found

    def _run(
        self, model: nn.Module, inputs: Sequence[tuple[Tensor, int | None]], frames: range
    ) -> tuple[Tensor, ...]:
        """Every output at each of the frames; zeros until it begins."""
        assert self.told is not None
        every: list[list[Tensor]] = []
        all_at_once = self._outputs(model, inputs, frames.stop)
        prefixes: dict[int, Sequence[Tensor]] = {frames.stop: all_at_once}
        for place, (spec, begins) in enumerate(zip(self.told.outputs, self.told.begins, strict=True)):
            axis = next((i for i, d in enumerate(spec.shape) if entries_of(d)), None)
            if axis is not None:
                every_frame, count = all_at_once[place], entries_of(spec.shape[axis])
                if count > 1:
                    every_frame = every_frame.unflatten(axis, (-1, count))
                rows = list(every_frame.movedim(axis, 0)[: max(frames.stop - begins, 0)])
            else:
                rows = []
                for t in frames[begins:]:
                    if t + 1 not in prefixes:
                        prefixes[t + 1] = self._outputs(model, inputs, t + 1)
                    rows.append(prefixes[t + 1][place])
            like = rows[0] if rows else all_at_once[place]
            every.append([torch.zeros_like(like)] * min(begins, frames.stop) + rows)
        return tuple(torch.stack(rows, dim=1) for rows in every)

    def _windows(
        self, inputs: Sequence[tuple[Tensor, int | None]], frames: int, window: int
    ) -> tuple[Tensor, ...]:
        """Every output of the last `window` frames, at each frame; what comes before the first is zeros."""
        padded = [(x if axis is None else _behind_zeros(x, axis, window - 1), axis) for x, axis in inputs]
        found: list[Sequence[Tensor]] = []
        for t in range(frames):
            given = [x if axis is None else x.narrow(axis, t, window) for x, axis in padded]
            found.append(_tensors(self.model(*given)))
        return tuple(torch.stack(rows, dim=1) for rows in zip(*found, strict=True))

    def _outputs(
        self, model: nn.Module, inputs: Sequence[tuple[Tensor, int | None]], frames: int
    ) -> Sequence[Tensor]:
        cut = [x if axis is None else x.narrow(axis, 0, frames) for x, axis in inputs]
        return _tensors(model(*cut))

    def _check_graph(
        self, graph: nn.Module, inputs: Sequence[tuple[Tensor, int | None]], frames: int
    ) -> None:
        first = range(min(frames, self.horizon or frames))
        sides = [self._run(model, inputs, first) for model in (self.model, graph)]
        for own, other in zip(*sides, strict=True):
            self._check(own, other)

    def _check(self, own: Tensor, other: Tensor) -> None:
        """The graph says what the model says, where both can be asked."""
        if own.dtype != torch.float64:
            return
        scale = float(own.abs().nan_to_num().amax()) if own.numel() else 0.0
        off = (own - other).abs()
        if bool((off[off.isfinite()] > AGREES * max(scale, 1e-12)).any()):
            raise UserError(
                f"the graph that was traced differs from the model by {float(off.amax()):.2g} in the first "
                f"{own.shape[1]} frames, so what a stream of it gives is not known; please report it"
            )


def _tensors(outputs: Any) -> list[Tensor]:
    """What a module returned: a tensor, a tuple, or outputs by name."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return list(outputs.values() if isinstance(outputs, dict) else outputs)


def _behind_zeros(x: Tensor, axis: int, count: int) -> Tensor:
    shape = [count if i == axis else size for i, size in enumerate(x.shape)]
    return torch.cat((x.new_zeros(shape), x), dim=axis)


def limited(model: ir.Model, horizon: int, declaration: Declaration) -> ir.Model:
    """The graph whose attention over all earlier frames sees the last `horizon` only, in place; what has a window of
    its own, or sees what has no place in time, stays as it is. Where k entries come with each frame, each of them sees
    the last `k * horizon` entries, its own included."""
    name_open_sizes(model, declaration)
    aged, _ = attention_by_age(model, declaration)
    apart = {node for plain, ages in aged.values() if ages.window for node in scoring(plain) or ()}
    limit_masks(model, horizon, declaration, apart)
    for node in model.graph:
        seen = Attention.of(node)
        if seen is None or seen.rule.window:
            continue
        keys = (seen.q if seen.k is None else seen.k).shape
        if keys is None or not along_time(keys[1]):
            continue
        if not seen.rule.causal:  # of the last frame alone, wherever among the keys it was said to stand
            seen.place_queries(AT_END)
        node.attributes["causal"] = ir.AttrInt64("causal", 1)
        rows = entries(keys[1]) or 1
        window = horizon * rows + max(extra(keys[1], rows) or 0, 0)
        node.attributes["window"] = ir.AttrInt64("window", window)
    return model
