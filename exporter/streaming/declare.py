"""A step model of any module or ONNX file: declared by the step graph that is made of its graph."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir
from torch import nn

from temport.exporter.declare.call import EveryFrame
from temport.exporter.declare.declaration import AFTER, Axis, Declaration, Sequences, TensorSpec
from temport.exporter.declare.observe import run_or_refuse
from temport.exporter.errors import UserError
from temport.exporter.streaming.half_rings import check_found
from temport.exporter.streaming.positions import AFTER_TABLE
from temport.exporter.streaming.sequences import (
    of_every_frame,
    one_length,
    opened,
    stream_graph,
    told_outputs,
    window_stream,
)
from temport.exporter.streaming.shapes import TIME, along_time, entries
from temport.exporter.streaming.step_graph import StepGraph
from temport.exporter.streaming.warm_up import NEVER
from temport.exporter.trace.torch_to_onnx import FrozenAxis

FRAME = "frame"
"""The input of an architecture's step model."""
AGREES = 1e-4
"""How far, in units of its scale, the last frame of every frame may be from what `forward` gives, in float32."""


def declare_stream(declaration: Declaration, module: nn.Module, delay: int = 0) -> Declaration:
    """The step model `(frame..., static input..., state...) -> (output..., state...)`.

    `--seq N` says how many frames attention without a window keeps; of a range, which files and programs have of their
    own, that is the usual length. UserError says why the model cannot stream.

    delay  frames that outputs may come later than theirs
    """
    if declaration.module is None and len(declaration.inputs) == 1:  # an architecture
        declaration = replace(declaration, inputs=(replace(declaration.inputs[0], name=FRAME),))
    _check_last_frame(declaration, module)
    sequences = opened(declaration, module)
    horizon = sequences.axes[TIME].opt
    try:
        made = stream_graph(module, sequences, horizon, delay)
    except FrozenAxis as error:
        raise one_length(error.told, horizon) from error
    check_found(declaration, made.halves, made.told)
    outputs = told_outputs(module, sequences)
    frames = tuple(_frame(spec) for spec in sequences.inputs)
    steps = tuple(_step_output(spec) for spec in outputs)
    _check_batch((*frames, *steps))
    after = tuple(replace(state, name=AFTER + state.name.partition(".")[2]) for state in made.states)
    ends = min((count for count, then in made.limits if then == AFTER_TABLE), default=0)
    warm_up = made.warm_up
    if warm_up is not NEVER and 0 < ends <= warm_up:
        warm_up = NEVER  # it ends before it forgets where it began
    told = Sequences(sequences.inputs, outputs, made.begins, made.late, made.kept, warm_up, frames=ends)
    return replace(
        declaration,
        inputs=(*frames, *made.states),
        outputs=(*steps, *after),
        streaming=True,
        horizon=horizon if made.uses_horizon else 0,
        sequences=told,
        notes=(*declaration.notes, *_notes(made, sequences, horizon)),
    )


def _check_last_frame(declaration: Declaration, module: nn.Module) -> None:
    """UserError where `forward_sequence` says of the last frame something else than `forward`."""
    called = of_every_frame(module, declaration)
    if TIME not in declaration.axes or not isinstance(called, EveryFrame):
        return
    sizes = {axis.name: axis.opt for axis in declaration.axes.values()}
    (every,), (last, *_) = (run_or_refuse(m, declaration.inputs, sizes) for m in (called, module))
    every = every if every.shape == last.shape else every[:, -1]
    if every.shape != last.shape or bool((every - last).abs().max() > AGREES * last.abs().max()):
        raise UserError(
            f"forward_sequence of {type(called.model).__name__} gives at the last frame something else than forward; "
            "a stream is made of what it gives at every frame"
        )


def declare_window_stream(declaration: Declaration, module: nn.Module, frames: int) -> Declaration:
    """The step model that gives at every frame what the model gives for the last `frames`, those before the first one
    zeros. UserError where nothing of it can be kept.
    """
    made = window_stream(module, declaration, frames)
    inputs = tuple(_frame(spec) for spec in declaration.inputs)
    _check_batch((*inputs, *declaration.outputs))
    after = tuple(replace(state, name=AFTER + state.name.partition(".")[2]) for state in made.states)
    told = Sequences(
        declaration.inputs, declaration.outputs, made.begins, 0, made.kept, made.warm_up, window=frames
    )
    notes = (
        f"each output is that of the last {_frames(frames)}; before there are so many, the missing ones are zeros",
        *made.told,
        *_static(declaration),
    )
    return replace(
        declaration,
        inputs=(*inputs, *made.states),
        outputs=(*declaration.outputs, *after),
        streaming=True,
        sequences=told,
        notes=(*declaration.notes, *notes),
    )


def _frame(spec: TensorSpec) -> TensorSpec:
    """One frame of an input; a static input as it is."""
    return replace(spec, shape=tuple(1 if _is_time(d) else d for d in spec.shape))


def _step_output(spec: TensorSpec) -> TensorSpec:
    """One frame of an output, without its axis of time; of several entries for each frame, with an axis of these."""
    sizes = (rows if (rows := entries_of(d)) > 1 else d for d in spec.shape if entries_of(d) != 1)
    return replace(spec, shape=tuple(sizes))


def _is_time(dim: Axis | int) -> bool:
    return isinstance(dim, Axis) and dim.name == TIME


def entries_of(dim: Axis | int) -> int:
    """How many entries of an axis of an output come with each frame; 0 where it does not move with their number."""
    name = ir.SymbolicDim(dim.name) if isinstance(dim, Axis) else dim
    return (entries(name) or 1) if along_time(name) else 0


def _check_batch(specs: tuple[TensorSpec, ...]) -> None:
    """Streams of a batch are told apart by the first axis."""
    first = specs[0].onnx_shape()[:1]
    for spec in specs:
        if spec.onnx_shape()[:1] != first or not first:
            raise UserError(
                f"{spec.name} has another first axis than {specs[0].name}: in a stream the batch comes first in every "
                "input and every output"
            )


def _notes(made: StepGraph, sequences: Declaration, horizon: int) -> tuple[str, ...]:
    """What a user has to know of the stream."""
    limits = list(made.limits)
    if made.uses_horizon:
        phrases = [
            f"exact for the first {_frames(horizon)}",
            f"from then on with a window of {_frames(horizon + made.in_front)}",
        ]
    elif limits:
        count, then = limits.pop(0)
        phrases = [f"exact for {count:,} frames", f"from then on {then}"]
    else:
        phrases = ["exact, however long"]
    phrases += [f"after {count:,} frames {then}" for count, then in limits]
    notes = [f"streaming is {'; '.join(phrases)}"]
    begins = {spec.name: count for spec, count in zip(sequences.outputs, made.begins, strict=True) if count}
    notes += [
        f"{name} is zero for the first {_frames(count)}, which it waits for" for name, count in begins.items()
    ]
    if made.late:
        notes.append(f"outputs come {_frames(made.late)} late")
    return (*notes, *made.told, *_static(sequences))


def _static(sequences: Declaration) -> tuple[str, ...]:
    static = [spec.name for spec in sequences.inputs if not any(map(_is_time, spec.shape))]
    return tuple(f"{name} is a static input: it may change, and acts from that frame on" for name in static)


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"
