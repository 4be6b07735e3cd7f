"""The walk over a graph of sequences that makes the graph of one frame."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.errors import UserError
from temport.exporter.streaming.ages import attention_by_age
from temport.exporter.streaming.open_sizes import name_open_sizes
from temport.exporter.streaming.refusal import described
from temport.exporter.streaming.rules import follow
from temport.exporter.streaming.rules.aged import aged_attention
from temport.exporter.streaming.rules.pairs import PAIRS, pairs
from temport.exporter.streaming.shapes import TIME
from temport.exporter.streaming.states import in_front
from temport.exporter.streaming.status import Fixed, Last, OfSizes, Pairs, Timed
from temport.exporter.streaming.step import Step, joined_last
from temport.exporter.streaming.step_graph import StepGraph, finished, give_output


def step_graph(model: ir.Model, declaration: Declaration, horizon: int, delay: int = 0) -> StepGraph:
    """The graph of one frame of `model`, a graph of sequences with the axis `seq`; `NotCausal` where there is none.

    declaration  of the sequences
    horizon      frames that attention without a window keeps
    delay        frames that outputs may be late
    """
    model = model.clone()
    name_open_sizes(model, declaration)
    step = Step(model, declaration, horizon)
    for value, spec in zip(model.graph.inputs, declaration.inputs, strict=True):
        _input(step, value, spec)
    aged, inside = attention_by_age(model, declaration)
    for node in model.graph:
        if node in inside:
            continue
        try:
            if node in aged:
                aged_attention(step, *aged[node])
            else:
                _visit(step, node)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"the model cannot run frame by frame: the rule of {described(node)} fails on it "
                f"({type(error).__name__}: {error}); please report it"
            ) from error
    late, begins = _outputs(step, model.graph.outputs, declaration, delay)
    if not step.states:
        raise UserError(
            "the model carries nothing from frame to frame: each frame is a sequence of one; export it without "
            "--streaming, at --seq 1"
        )
    return finished(step, declaration, model.ir_version or 10, begins, late, tuple(dict.fromkeys(step.told)))


def _input(step: Step, value: ir.Value, spec: TensorSpec) -> None:
    axes = [i for i, d in enumerate(spec.shape) if isinstance(d, Axis) and d.name == TIME]
    if len(axes) > 1:
        raise UserError(f"input {spec.name} has two axes of time, and a frame of it is not known")
    status = Timed(axes[0]) if axes else Fixed()
    here = ir.Value(name=step.name(spec.name), type=value.type)
    here.shape = ir.Shape(step.shape(value, status))
    step.graph.inputs.append(here)
    step.give(value, here, status)


def _visit(step: Step, node: ir.Node) -> None:
    given = [step.status(v) for v in node.inputs if v is not None]
    if (
        node.op_type in ("Shape", "Size")
        or not given
        or (
            any(isinstance(s, OfSizes) for s in given)
            and all(
                isinstance(step.status(v), OfSizes) or v.const_value is not None
                for v in node.inputs
                if v is not None
            )
        )
    ):
        for output in node.outputs:
            step.give(output, None, OfSizes())
    elif any(isinstance(s, Pairs) for s in given):
        pairs(step, node)
    elif any(isinstance(s, Timed | OfSizes) for s in given):
        follow(step, node)
    else:
        step.copy(node, [None if v is None else step.raw(v) for v in node.inputs], joined_last(given))


def _outputs(
    step: Step, outputs: Sequence[ir.Value], declaration: Declaration, delay: int
) -> tuple[int, tuple[int, ...]]:
    """Give the step graph its outputs; how late they are, and when each begins."""
    late = max([0, *(_lateness(step, value, delay) for value in outputs)])
    begins = []
    for value, spec in zip(outputs, declaration.outputs, strict=True):
        status = step.status(value)
        if isinstance(status, OfSizes):
            raise UserError(f"output {spec.name} depends on the sizes of the inputs alone; leave it out")
        maker = value.producer()
        if isinstance(status, Pairs):
            assert maker is not None
            step.refuse(maker, PAIRS)
        if isinstance(status, Timed):
            assert maker is not None
            # of more entries than frames come the first ones: entry t for frame t
            begins.append(max(late - step.extra(maker, value), 0))
            here = step.held(value, begins[-1])
            if status.rows == 1:
                dims = [d for i, d in enumerate(here.shape or ()) if i != status.axis]
                here = step.add("Squeeze", [here, step.integers(status.axis)], dims, f"{spec.name}/frame")
        else:
            here = step.raw(value)
            begins.append(status.begins if isinstance(status, Last) else 0)
        here = _from(step, here, begins[-1])
        give_output(step, here, spec.name)
    return late, tuple(begins)


def _from(step: Step, value: ir.Value, begins: int) -> ir.Value:
    """Zeros until the frame from which on a value means something."""
    if not begins:
        return value
    assert value.shape is not None and value.dtype is not None
    dims = list(value.shape)
    zero = step.constant(f"{value.name}/zero", 0, value.dtype.numpy())
    begun = in_front(step, value, 0, begins, f"{value.name}/begins")
    return step.add("Where", [begun, zero, value], dims, f"{value.name}/from_{begins}", dtype=value.dtype)


def _lateness(step: Step, value: ir.Value, allowed: int) -> int:
    """Frames by which an output of every frame comes later than its frame; refused where that is more than allowed."""
    status = step.status(value)
    if not isinstance(status, Timed):
        return 0
    maker = value.producer()
    assert maker is not None
    if status.newest and status.late is not None:
        step.refuse(status.late.node, status.late.needs)
    if status.merged or status.newest:
        step.refuse(maker, "gives every frame something that depends on the last one")
    late = status.delay + step.extra(maker, value)
    if late > allowed:
        why = status.late
        if why is None:
            step.refuse(maker, "comes later than its frames", late)
        step.refuse(why.node, why.needs, late)
    return late
