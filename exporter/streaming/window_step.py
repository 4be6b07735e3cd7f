"""The step model of a module that reads exactly its last N frames: what is frame-wise is kept, the rest computed anew.

Before the first N frames have come, those that are missing are zeros: a ring begins with what a frame of zeros gives.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.errors import UserError
from temport.exporter.graph import operators
from temport.exporter.graph.evaluate_part import Part
from temport.exporter.graph.operator_row import Along
from temport.exporter.streaming.frame_wise import Place, Places, frame_wise, one_frame
from temport.exporter.streaming.joining import sizes
from temport.exporter.streaming.refusal import described
from temport.exporter.streaming.shapes import TIME, Size
from temport.exporter.streaming.states import reshaped, ring
from temport.exporter.streaming.status import Fixed
from temport.exporter.streaming.step import Step
from temport.exporter.streaming.step_graph import StepGraph, finished, give_output


def window_graph(model: ir.Model, declaration: Declaration, frames: int) -> StepGraph:
    """The graph of one frame more of `model`, a graph of windows of exactly so many frames; UserError where no value of
    it is kept.

    declaration  of the windows
    """
    model = model.clone()
    made = _Window(model, declaration, frames)
    for node in model.graph:
        made.visit(node)
    for value, spec in zip(model.graph.outputs, declaration.outputs, strict=True):
        give_output(made.step, made.whole(value), spec.name)
    if not made.step.states:
        raise UserError(
            "no output of the model depends on its frames, so there is nothing that a stream could keep; export it "
            "without --streaming"
        )
    begins = (0,) * len(declaration.outputs)
    return finished(made.step, declaration, model.ir_version or 10, begins, told=made.told())


class _Window:
    """The graph while it is made: of each value what one frame gives, and what the window gives."""

    def __init__(self, model: ir.Model, declaration: Declaration, frames: int) -> None:
        self.frames, self.step = frames, Step(model, declaration, frames)
        self.inputs: dict[ir.Value, TensorSpec] = {}
        timed: Places = {}
        for value, spec in zip(model.graph.inputs, declaration.inputs, strict=True):
            axes = [i for i, d in enumerate(spec.shape) if isinstance(d, Axis) and d.name == TIME]
            if len(axes) > 1:
                raise UserError(f"input {spec.name} has two axes of time, and a frame of it is not known")
            if axes:
                timed[value], self.inputs[value] = Place(axes[0]), spec
        self.places, nodes = frame_wise(model, timed, frames)
        self._inside, self._one, self._whole = (
            set(nodes),
            dict[ir.Value, ir.Value](),
            dict[ir.Value, ir.Value](),
        )
        self.kept, self.anew, self._of_sizes = list[str](), list[ir.Node](), set[ir.Value]()
        for value in model.graph.inputs:
            here = ir.Value(name=self.step.name(value.name or "input"), type=value.type)
            here.shape = ir.Shape(self._frame(value) if value in timed else list(value.shape or ()))
            self.step.graph.inputs.append(here)
            if value in timed:
                self._one[value] = here
            else:
                self.step.give(value, here, Fixed())

    def visit(self, node: ir.Node) -> None:
        given = [v for v in node.inputs if v is not None and v.const_value is None]
        if node.op_type == "Shape" and given[0] in self.places:
            self._shape(node, given[0])
        elif node in self._inside:
            self._frame_by_frame(node)
        else:
            if any(
                a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()
            ):
                raise UserError(f"{described(node)} holds another graph in its body, and --window takes none")
            if any(v not in self._of_sizes for v in given):
                self.anew.append(node)
            else:
                self._of_sizes |= set(node.outputs)
            self.step.copy(node, [None if v is None else self.whole(v) for v in node.inputs], Fixed())

    def _shape(self, node: ir.Node, value: ir.Value) -> None:
        """Sizes of the window, of which the batch alone is open."""
        bounds = [node.attributes[n].as_int() if n in node.attributes else None for n in ("start", "end")]
        self._of_sizes.add(node.outputs[0])
        self.step.give(node.outputs[0], sizes(self.step, list(value.shape or ())[slice(*bounds)]), Fixed())

    def _frame_by_frame(self, node: ir.Node) -> None:
        here = [None if v is None else self._one.get(v) or self.step.raw(v) for v in node.inputs]
        if operators.of(node).renames and node.op_type == "Reshape":
            (output,) = node.outputs
            assert here[0] is not None
            self._one[output] = reshaped(self.step, here[0], self._frame(output), f"{output.name}/frame")
            return
        name = f"{node.outputs[0].name}/frame"
        shapes = [self._frame(value) for value in node.outputs]
        attributes = {key: a.value for key, a in node.attributes.items()}
        made = self.step.add_of(node.domain, node.op_type, here, shapes, name, attributes)
        for old, new in zip(node.outputs, made, strict=True):
            new.type = old.type
            self._one[old] = new
        maker = made[0].producer()
        assert maker is not None
        maker.metadata_props.update(node.metadata_props)

    def whole(self, value: ir.Value) -> ir.Value:
        """The value of the whole window: of frames that are kept, and of this one."""
        if value not in self.places:
            return self.step.raw(value)
        if value not in self._whole:
            node = value.producer()
            if node is not None and _only_moves(node) and not self._merged(node):
                self.step.copy(node, [None if v is None else self.whole(v) for v in node.inputs], Fixed())
                self._whole |= {v: self.step.raw(v) for v in node.outputs}
            else:
                self._whole[value] = self._of_ring(value)
        return self._whole[value]

    def _merged(self, node: ir.Node) -> bool:
        """Whether it takes batch and frames on one axis, of which no frames can be kept."""
        return any(v in self.places and self.places[v].merged for v in node.inputs if v is not None)

    def _of_ring(self, value: ir.Value) -> ir.Value:
        node, place = value.producer() or next(iter(value.uses())).node, self.places[value]
        lead = self._of_zeros(value, place)
        self.kept.append(f"{self.frames - 1} frames of {_called(value)}")
        return ring(self.step, node, self._one[value], place.axis, self.frames - 1, "frames", 0, lead)

    def _of_zeros(self, value: ir.Value, place: Place) -> ir.Value | None:
        """What a frame of zeros gives, with time and batch of size 1; None where that is zeros."""
        at = {name: axis.opt for name, axis in self.step.declaration.axes.items()}
        feeds = [np.zeros(spec.at(), spec.dtype) for spec in self.inputs.values()]
        array = Part(value, list(self.inputs)).at(at, feeds)
        for axis, size in enumerate(value.shape or ()):
            if axis == place.axis or (not isinstance(size, int) and size == self.step.batch):
                array = np.take(array, [0], axis=axis)
        return self.step.constant(f"{value.name}/of_zeros", array, array.dtype) if np.any(array) else None

    def _frame(self, value: ir.Value) -> list[Size]:
        return one_frame(value, self.places[value], self.step.batch)

    def told(self) -> tuple[str, ...]:
        """What is kept, and what is computed anew."""
        count = len(self.anew)
        again = f"{count} node{'s' * (count != 1)}, from {described(self.anew[0])} on" if count else "nothing"
        return (
            f"it keeps {', '.join(self.kept)}, and computes {again} anew over {self.frames} frames at every frame",
        )


def _only_moves(node: ir.Node) -> bool:
    """Whether it can be done again over the window without arithmetic, and nothing more is kept for it."""
    row = operators.of(node)
    return row.renames or row.along is Along.PERMUTED or node.op_type == "Split"


def _called(value: ir.Value) -> str:
    node = value.producer()
    return f"input {value.name}" if node is None else described(node)
