"""The truth of a stream: the model of sequences itself, on all frames at once or on those so far.

An output that has every frame is that frame of one run. One that has the last frame only is what the model gives
for the frames so far, at each of them; that of a window is what it gives for the last frames. Where attention has no
window, the stream is the model for the first `horizon` frames; what it is from then on, the graph of sequences says,
with that window in its attention (`behind.py`). Where rings are float16 that graph says it all, its keys and values
rounded.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from temport.exporter.declare.copied import moved
from temport.exporter.declare.declaration import Declaration
from temport.exporter.streaming.behind import Behind
from temport.exporter.streaming.declare import entries_of
from temport.exporter.streaming.half_rings import HALF
from temport.exporter.streaming.sequences import of_every_frame, of_sequences, step_of
from temport.exporter.streaming.shapes import TIME

EPS = torch.finfo(torch.float64).eps
ULPS = 2
"""Weights are off by up to half of these, so that a draw moves most of them."""


class WholeStream(nn.Module):
    """Whole streams `[batch, frames, ...]`, one for each input of a step -> `[batch, frames, ...]` for each output."""

    def __init__(self, module: nn.Module, declaration: Declaration) -> None:
        super().__init__()
        self.told, self.horizon = declaration.sequences, declaration.horizon
        sequences = of_sequences(declaration)
        streamed = module if self.told and self.told.window else of_every_frame(module, sequences)
        self.model = copy.deepcopy(streamed)
        halves = step_of(module, declaration).halves if declaration.kv_dtype == HALF else ()
        graphed = self.horizon or halves
        self.behind = Behind(module, sequences, self.horizon, halves) if graphed else None
        self.train(module.training)

    def forward(self, *streams: Tensor) -> tuple[Tensor, ...]:
        frames = streams[0].shape[1]
        inputs = self._sequences(streams)
        if self.told is not None and self.told.window:
            return self._windows(inputs, frames, self.told.window)
        if self.behind is None or (frames <= self.horizon and not self.behind.halves):
            return self._run(self.model, inputs, range(frames))
        in_front = range(min(frames, self.horizon or frames))
        is_source = self.behind.is_source(self.model)  # asked first, as a model may count its calls
        first = self._run(self.model, inputs, in_front) if is_source or not self.behind.halves else ()
        whole = self.behind(
            first if is_source else None,
            lambda graph: self._run(graph, inputs, range(frames)),
            lambda draw: self._run(moved(self.model, ULPS * EPS, draw), _moved(inputs, draw), in_front),
        )
        if self.behind.halves:
            return whole
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


def _tensors(outputs: Any) -> list[Tensor]:
    """What a module returned: a tensor, a tuple, or outputs by name."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return list(outputs.values() if isinstance(outputs, dict) else outputs)


def _behind_zeros(x: Tensor, axis: int, count: int) -> Tensor:
    shape = [count if i == axis else size for i, size in enumerate(x.shape)]
    return torch.cat((x.new_zeros(shape), x), dim=axis)


def _moved(inputs: Sequence[tuple[Tensor, int | None]], draw: int) -> list[tuple[Tensor, int | None]]:
    """Numbers off by a unit in the last place, up or down."""
    generator = torch.Generator().manual_seed(draw)
    found = []
    for x, axis in inputs:
        if x.is_floating_point():
            x = x * (1 + EPS * (torch.randint(0, 2, x.shape, generator=generator) * 2 - 1))
        found.append((x, axis))
    return found
