"""The model of sequences behind a step model: its axis of time opened, its graph traced, the step graph made of it."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

import onnx_ir as ir
from torch import nn

from temport.exporter.declare.call import FRAMES_METHOD, EveryFrame, own
from temport.exporter.declare.declaration import DYNAMIC_SEQ, Axis, Declaration, TensorSpec
from temport.exporter.declare.fitted import fitted
from temport.exporter.declare.observe import output_specs, run
from temport.exporter.declare.weights import fingerprint
from temport.exporter.errors import UserError
from temport.exporter.passes.notes import Notes
from temport.exporter.passes.order import RECOGNISING
from temport.exporter.passes.recognise_attention import NAME as ATTENTION
from temport.exporter.passes.recognise_attention import Stays
from temport.exporter.passes.work import Work
from temport.exporter.streaming.refusal import NotCausal
from temport.exporter.streaming.rules.pairs import PAIRS
from temport.exporter.streaming.shapes import TIME
from temport.exporter.streaming.step_graph import StepGraph
from temport.exporter.streaming.two_lengths import Unequal, lengths_to_compare, of_any_length
from temport.exporter.streaming.walk import step_graph
from temport.exporter.streaming.window_step import window_graph
from temport.exporter.trace.torch_to_onnx import FrozenAxis
from temport.exporter.trace.trace import Traced, trace

WINDOWS = 4
"""A parity stream is so many times as long as the longest ring, and half of one more; so is the longest sequence."""

NO_TIME = (
    f"no input has the axis {TIME}, and --streaming has to know which axis is time; name it, as in --shape "
    f"frames=batch,{TIME},24"
)


def opened(declaration: Declaration, module: nn.Module) -> Declaration:
    """The declaration with an open axis of time: from the fewest frames that the module takes to as many as a stream
    that is checked has, or as it takes. UserError where no input has such an axis.
    """
    if TIME not in declaration.axes:
        raise UserError(NO_TIME)
    module, axis = of_every_frame(module, declaration), declaration.axes[TIME]
    if axis.static:
        axis = _lengths(declaration, module, axis.opt)
    inputs = tuple(_with(spec, axis) for spec in declaration.inputs)
    names = [spec.name for spec in declaration.outputs]
    outputs = output_specs(module, inputs, names, ends=True)
    if declaration.of_onnx:
        outputs = fitted(module, inputs, outputs, {})
    return replace(declaration, inputs=inputs, outputs=outputs)


def of_every_frame(module: nn.Module, declaration: Declaration) -> nn.Module:
    """The module that a stream is made of and compared with: with `forward_sequence(frames)` that, where one sequence
    goes in and one output comes out. One run of it says what a `forward` of the last frame says in as many as there are
    frames.
    """
    source, told = own(module), declaration
    gives = callable(getattr(source, FRAMES_METHOD, None))
    return EveryFrame(source) if gives and len(told.inputs) == len(told.outputs) == 1 else module


def of_sequences(declaration: Declaration) -> Declaration:
    """The declaration of the model behind a step model."""
    told = declaration.sequences
    assert told is not None, "the step model was made of no graph"
    return replace(
        declaration,
        inputs=told.inputs,
        outputs=told.outputs,
        streaming=False,
        horizon=0,
        sequences=None,
        notes=(),
    )


def sequence_graph(module: nn.Module, declaration: Declaration) -> ir.Model:
    """The graph of sequences after the passes that recognise what a module says."""
    return _traced(module, declaration)[0].clone()


def stream_graph(module: nn.Module, declaration: Declaration, horizon: int, delay: int = 0) -> StepGraph:
    """The step graph of a module, which `declaration` says of sequences.

    Where attention is in the way, the refusal says what its mask lacks.
    """
    model, _, notes = _traced(module, declaration)
    try:
        return step_graph(model.clone(), declaration, horizon, delay)
    except NotCausal as error:
        reasons = [why.hindrance for why in notes.reasons(ATTENTION) if isinstance(why, Stays)]
        masks = [hindrance for hindrance in reasons if hindrance.of]
        if error.needs != PAIRS or error.node.op_type != "Softmax" or len(masks) != 1:
            raise
        raise NotCausal(error.node, f"{PAIRS}, as {masks[0]}", error.delay) from error


def window_stream(module: nn.Module, declaration: Declaration, frames: int) -> StepGraph:
    """The step graph of a module that takes windows of exactly so many frames, as `declaration` says."""
    if TIME not in declaration.axes:
        raise UserError(NO_TIME)
    return window_graph(sequence_graph(module, declaration), declaration, frames)


def step_of(module: nn.Module, declaration: Declaration) -> StepGraph:
    """The step graph of a declared step model."""
    told = declaration.sequences
    assert told is not None, "the step model was made of no graph"
    sequences = of_sequences(declaration)
    if told.window:
        return window_stream(module, sequences, told.window)
    axis = next(a for spec in told.inputs for a in spec.axes() if a.name == TIME)
    return stream_graph(module, sequences, declaration.horizon or axis.opt, told.delay)


def traced_step(module: nn.Module, declaration: Declaration) -> Traced:
    """That graph, as if it had been traced."""
    made = step_of(module, declaration)
    for value, spec in zip(made.model.graph.outputs, declaration.outputs, strict=True):
        value.shape = ir.Shape(spec.onnx_shape())
    for value, spec in zip(made.model.graph.inputs, declaration.inputs, strict=True):
        value.shape = ir.Shape(spec.onnx_shape())
    return Traced(made.model, (), fingerprint(module), declaration.outputs)


_KNOWN: WeakKeyDictionary[nn.Module, tuple[Declaration, str, ir.Model, Traced, Notes]] = WeakKeyDictionary()
"""One trace serves a declaration, its step model and its truth: that of a module with the weights it had."""


def _traced(module: nn.Module, declaration: Declaration) -> tuple[ir.Model, Traced, Notes]:
    if not declaration.axes[TIME].static:  # else these are windows of one length
        module = of_every_frame(module, declaration)
    key = replace(declaration, outputs=(), notes=(), kv_dtype="float32")  # which no trace depends on
    weights, source = fingerprint(module), own(module)
    known = _KNOWN.get(source)
    if known is None or known[:2] != (key, weights):
        traced = _trace(module, declaration)
        work = Work(traced.model.clone(), declaration)
        for step in RECOGNISING:
            if step.is_for(declaration):
                step.run(work)
        known = (key, weights, work.model, traced, work.notes)
        _KNOWN[source] = known
    return known[2:]


def _trace(module: nn.Module, declaration: Declaration) -> Traced:
    """Also of a module that a trace takes at one length at a time, since it loops over its frames in Python."""
    try:
        return trace(module, declaration)
    except FrozenAxis as error:
        lengths = lengths_to_compare(declaration.axes[TIME])
        if error.axis != TIME or len(lengths) < 2:
            raise
        try:
            traced = [trace(module, _of_length(declaration, module, n)) for n in lengths]
            found = of_any_length(traced, lengths, declaration)
        except Unequal as why:
            raise FrozenAxis(TIME, f"{error.told} ({why})") from error
        except UserError:  # it takes no other length at all
            raise error from None
        if found is None:
            raise
        return found


def _of_length(declaration: Declaration, module: nn.Module, frames: int) -> Declaration:
    inputs = tuple(with_frames(spec, frames) for spec in declaration.inputs)
    names = [spec.name for spec in declaration.outputs]
    return replace(declaration, inputs=inputs, outputs=output_specs(module, inputs, names))


def told_outputs(module: nn.Module, declaration: Declaration) -> tuple[TensorSpec, ...]:
    """The outputs of the sequences, each axis as the trace says it."""
    return _traced(module, declaration)[1].outputs


def one_length(told: str, frames: int) -> UserError:
    """What is said of a model that takes one number of frames alone."""
    return UserError(
        f"{told}, and a stream has fewer at its beginning and more later; let it take any number (a Python loop over "
        f"frames does where all its steps are equal), or give --window {frames}, which computes anew over the last "
        f"{frames} what it cannot keep"
    )


def _lengths(declaration: Declaration, module: nn.Module, usual: int) -> Axis:
    """The lengths that a module takes around `usual`: as few frames as there can be, and as many as are asked for."""
    longest = max(DYNAMIC_SEQ[2], (WINDOWS + 1) * usual)
    if not _takes(declaration, module, longest):  # a table of positions ends somewhere
        taken = usual
        while longest - taken > 1:
            middle = (taken + longest) // 2
            taken, longest = (middle, longest) if _takes(declaration, module, middle) else (taken, middle)
        longest = taken
    shortest = next(n for n in range(1, usual + 1) if n == usual or _takes(declaration, module, n))
    if shortest == longest:
        raise one_length(f"the model takes sequences of exactly {usual} frames", usual)
    return Axis(TIME, shortest, usual, longest)


def _takes(declaration: Declaration, module: nn.Module, frames: int) -> bool:
    sizes = {axis.name: axis.opt for axis in declaration.axes.values()} | {TIME: frames}
    inputs = [_with(spec, Axis(TIME, frames, frames, frames)) for spec in declaration.inputs]
    try:
        run(module, inputs, sizes)
    except Exception:  # a module says in many ways that it is made for other lengths
        return False
    return True


def with_frames(spec: TensorSpec, frames: int) -> TensorSpec:
    """The input with exactly so many frames."""
    return _with(spec, Axis(TIME, frames, frames, frames))


def _with(spec: TensorSpec, axis: Axis) -> TensorSpec:
    shape = tuple(axis if isinstance(d, Axis) and d.name == TIME else d for d in spec.shape)
    return replace(spec, shape=shape)
