"""Step models: `(frame, state...) -> (output, state...)` declared, and what they are compared with.

The signature names a state tensor twice, `state.<name>` going in and `next_state.<name>` coming out, with equal
shape and type, so a caller swaps the two buffers between frames. All states start at zero.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from temport.exporter.declare.declaration import AFTER, BEFORE, Axis, Declaration, TensorSpec
from temport.exporter.errors import UserError
from temport.graphs.streaming import StepModel, exactness, limited, needs_horizon, state_specs

FRAME = "frame"
WINDOWS_PER_STREAM = 4
"""A parity stream is this many times as long as the longest cache, and a part of one more."""
LEAST_KEPT = 8
"""Frames that a stream counts as keeping at least."""
LONGEST_INPUT = 10**6
"""Frames that a user's own stream may have."""


def declare_stream(declaration: Declaration, module: nn.Module) -> Declaration:
    """The step model of a declared architecture or module; UserError says why it cannot stream.

    `--seq N` is the horizon where attention has no window of its own: how many frames its caches keep. A module of
    one's own streams where it is made of our layers and has `forward_sequence(frames, memory)`, the output at every
    frame, which hands `memory` on to them.
    """
    try:
        exact = how_exact(declaration, module)
        seq = declaration.axes["seq"]
        if not seq.static:
            raise UserError(
                f"--seq {seq} is open, and a stream keeps a fixed number of frames; give one, as in --seq 60"
            )
        if declaration.precision != "float32":
            raise UserError(f"--streaming exports float32; leave out the precision {declaration.precision}")
        states = state_specs(limited(module, seq.max))
    except ValueError as error:
        raise UserError(f"{declaration.arch} cannot stream: {error}") from error
    (sequence,), (output,) = declaration.inputs, declaration.outputs
    batch, features = sequence.shape[0], sequence.shape[2]

    def tensors(prefix: str) -> tuple[TensorSpec, ...]:
        dtypes = {"float": sequence.dtype}
        return tuple(
            TensorSpec(prefix + s.name, dtypes.get(s.dtype, s.dtype), (batch, *s.shape)) for s in states
        )

    return replace(
        declaration,
        inputs=(TensorSpec(FRAME, sequence.dtype, (batch, 1, features)), *tensors(BEFORE)),
        outputs=(output, *tensors(AFTER)),
        streaming=True,
        horizon=seq.max if needs_horizon(module) else 0,
        notes=(*declaration.notes, f"streaming is {exact}"),
    )


def how_exact(declaration: Declaration, module: nn.Module) -> str:
    """How far a stream of a declared model equals the model: a phrase. ValueError says why it cannot stream."""
    seq = declaration.axes.get("seq")
    shapes = [spec.shape for spec in declaration.inputs]
    if seq is None or len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][1] != seq:
        raise ValueError("its input is not one sequence batch,seq,features")
    if len(declaration.outputs) != 1:
        named = ", ".join(spec.name for spec in declaration.outputs)
        raise ValueError(f"it gives {named}, and forward_sequence gives one output at every frame")
    if not callable(getattr(module, "forward_sequence", None)):
        raise ValueError(
            f"{type(module).__name__} has no forward_sequence(frames, memory), which gives the output at every frame"
        )
    return exactness(module)


def step_model(module: nn.Module, declaration: Declaration) -> StepModel:
    """What is traced: one frame through `module`, its caches as long as declared."""
    return StepModel(_within_horizon(module, declaration))


class WholeSequence(nn.Module):
    """Every position of a sequence at once, `[batch, frames, features]` -> `[batch, frames, hidden]`."""

    def __init__(self, module: nn.Module, declaration: Declaration) -> None:
        super().__init__()
        self.model: Any = _within_horizon(module, declaration)
        self.train(module.training)

    def forward(self, frames: Tensor) -> Tensor:
        output: Tensor = self.model.forward_sequence(frames)
        return output


def sequence_declaration(declaration: Declaration, frames: Axis | None = None) -> Declaration:
    """What one case of a stream looks like: inputs and outputs of a step model without its states, each with an axis of
    frames behind the batch, in the place of an axis of size 1 where there is one.

    frames  the axis of time; by default one length, far longer than what the caches keep
    """
    if frames is None:
        length = _stream_length(declaration)
        frames = Axis("frames", length, length, length)
    states = {name for pair in declaration.states for name in pair}
    return replace(
        declaration,
        inputs=tuple(
            replace(s, shape=(s.shape[0], frames, *s.shape[2 if s.shape[1:2] == (1,) else 1 :]))
            for s in declaration.inputs
            if s.name not in states
        ),
        outputs=tuple(
            replace(s, shape=(s.shape[0], frames, *s.shape[1:]))
            for s in declaration.outputs
            if s.name not in states
        ),
    )


def open_frames() -> Axis:
    """The time axis of a stream of any length, for inputs that a user brings."""
    return Axis("frames", 1, 1, LONGEST_INPUT)


def _within_horizon(module: nn.Module, declaration: Declaration) -> nn.Module:
    """A copy of the model that the stream computes."""
    return limited(module, declaration.horizon) if declaration.horizon else copy.deepcopy(module)


def _stream_length(declaration: Declaration) -> int:
    """By the states `[batch, frames, features]`, whatever their layer calls them, or by what was told of the rings; no
    longer than the sequences that the model behind it takes."""
    told = declaration.sequences
    if told is None:
        caches = [s.shape[1] for s in declaration.inputs[1:] if len(s.shape) == 3]
        longest = max((rows for rows in caches if isinstance(rows, int)), default=60)
        return WINDOWS_PER_STREAM * longest + longest // 2 + 1
    longest = max(told.kept, LEAST_KEPT)
    if told.window:
        return WINDOWS_PER_STREAM * longest + longest // 2 + 1
    most = next(axis.max for spec in told.inputs for axis in spec.axes() if axis.name == "seq")
    return min(WINDOWS_PER_STREAM * longest + longest // 2 + 1, most)
