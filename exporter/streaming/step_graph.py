"""A step model made of a graph: its outputs and states get their names, and what is not needed goes."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from temport.exporter.declare.declaration import AFTER, Axis, Declaration, TensorSpec
from temport.exporter.graph.edit import initializer, named
from temport.exporter.graph.edit import replace as replace_node
from temport.exporter.graph.evaluate_part import Part, UnknownPart
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.streaming.shapes import TIME, number
from temport.exporter.streaming.step import Step
from temport.exporter.streaming.warm_up import warm_up
from temport.exporter.trace.clean import clean
from temport.exporter.trace.fold_constants import fold_constants


@dataclass(frozen=True)
class StepGraph:
    """A step model made of a graph, and what it is to the model of sequences.

    states        state tensors, each with the batch in front
    begins        for each output, frames before its first that means something; until then it is zero
    late          frames by which the outputs of every frame are later than theirs
    uses_horizon  whether attention without a window was given one
    in_front      entries in front of the frames that such attention sees, beside those of the horizon
    limits        for how many frames the stream is exact, and what happens then
    kept          frames that the longest ring holds
    warm_up       frames after which it does not matter where a stream began; None: it always does
    told          what else there is to say of it
    halves        attention, by its output in the graph of sequences, whose rings are float16
    """

    model: ir.Model
    states: tuple[TensorSpec, ...]
    begins: tuple[int, ...]
    late: int
    uses_horizon: bool
    in_front: int
    limits: tuple[tuple[int, str], ...]
    kept: int
    warm_up: int | None
    told: tuple[str, ...] = ()
    halves: tuple[str, ...] = ()


def give_output(step: Step, here: ir.Value, name: str) -> None:
    """Let a value be the next output of the step graph, under this name."""
    if here.is_graph_input() or here in step.graph.outputs or here.const_value is not None:
        here = step.add("Identity", [here], list(here.shape or ()), f"{name}/out")
    _rename(step, here, name)
    step.graph.outputs.append(here)


def finished(
    step: Step,
    declaration: Declaration,
    ir_version: int,
    begins: tuple[int, ...],
    late: int = 0,
    told: tuple[str, ...] = (),
) -> StepGraph:
    """The step model of a graph that has its outputs.

    declaration  of the sequences
    """
    remembers = warm_up(step.graph, step.states, step.graph.outputs)
    step.graph.inputs.extend(state.before for state in step.states)
    for state in step.states:
        kept = state.after
        if kept.is_graph_output():
            kept = step.add("Identity", [kept], list(kept.shape or ()), f"{state.name}/after")
        kept.name = AFTER + state.name
        step.graph.outputs.append(kept)
    made = ir.Model(step.graph, ir_version=ir_version)
    _evaluate_norms(step.graph)
    fold_constants(made)
    clean(made)
    return StepGraph(
        made,
        tuple(_state_spec(state.before, declaration) for state in step.states),
        begins,
        late,
        step.uses_horizon,
        step.in_front,
        tuple(sorted(set(step.limits))),
        step.kept,
        remembers,
        told,
        tuple(step.halves),
    )


def _evaluate_norms(graph: ir.Graph) -> None:
    """What stands in front of the frames is the same in all, also behind a norm, which folding leaves as it is."""
    for node in list(graph):
        (value, *others) = node.outputs
        part = (
            Part(value)
            if is_standard(node, "LayerNormalization", "RMSNormalization") and not others
            else None
        )
        if part is None or part.data:
            continue
        try:
            array = part.at({})
        except UnknownPart:
            continue
        replace_node(graph, node, initializer(graph, named(value, "evaluated"), array))


def _rename(step: Step, value: ir.Value, name: str) -> None:
    """Give an output its name, and what had it another."""
    if value.name == name:
        return
    for node in step.graph:
        for other in node.outputs:
            if other.name == name:
                other.name = step.name(f"{name}/inside")
    value.name = name


def _state_spec(value: ir.Value, declaration: Declaration) -> TensorSpec:
    assert value.dtype is not None and value.shape is not None
    batch = declaration.inputs[0].shape[0]
    inner = tuple(number(d) for d in value.shape[1:])
    front = batch if isinstance(batch, Axis) and batch.name != TIME else number(value.shape[0])
    return TensorSpec(value.name or "", value.dtype.numpy().name, (front, *inner))
