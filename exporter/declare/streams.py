"""What one case of a stream looks like.

The signature of a step model names a state tensor twice, `state.<name>` going in and `next_state.<name>` coming out,
with equal shape and type, so a caller swaps the two buffers between frames. All states start at zero.
"""

from __future__ import annotations

from dataclasses import replace

from temport.exporter.declare.declaration import Axis, Declaration

WINDOWS_PER_STREAM = 4
"""A parity stream is this many times as long as the longest cache, and a part of one more."""
LEAST_KEPT = 8
"""Frames that a stream counts as keeping at least."""
LONGEST_INPUT = 10**6
"""Frames that a user's own stream may have."""


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


def _stream_length(declaration: Declaration) -> int:
    """By what was told of the rings; no longer than the sequences that the model behind it takes."""
    told = declaration.sequences
    assert told is not None, "the step model was made of no graph"
    longest = max(told.kept, LEAST_KEPT)
    if told.window:
        return WINDOWS_PER_STREAM * longest + longest // 2 + 1
    most = next(axis.max for spec in told.inputs for axis in spec.axes() if axis.name == "seq")
    return min(WINDOWS_PER_STREAM * longest + longest // 2 + 1, most)
