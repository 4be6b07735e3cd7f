"""ONNX's reference evaluator, prepared at its first run for all that follow: a step model runs a frame at a time.

Each run gives what ONNX's evaluator gives, bit for bit: its operators compute. What depends on constants alone is
computed once, an operator of ours may keep what it makes of its constants, and attributes are read once. What does not
go smoothly is run again by ONNX's evaluator itself, which says in its own words what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpFunction, OpRun
from onnx.reference.ops._op import OpRunBinary, OpRunBinaryNum, OpRunBinaryNumpy, OpRunUnary, OpRunUnaryNum

from temport.exporter.graph.standard_operator import RANDOM, is_standard

Call = Callable[..., Any]
Constants = Sequence[Any]
"""One for each input of a node: its array where it is constant, else None."""


class NotSmooth(Exception):
    """An operator answers, or is asked, in a way that ONNX's evaluator has a sentence for."""


class PreparedOp(OpRun):
    """An operator that is told its constants once."""

    def prepared(self, constants: Constants) -> Call:
        """What computes the outputs of all inputs, a tuple, for these constants; each operator has its own."""
        raise NotImplementedError


class PreparedEvaluator(ReferenceEvaluator):
    """In the place of `ReferenceEvaluator`, for its graphs inside of nodes too."""

    _plan: _Plan | None = None
    _usual = False

    def run(
        self,
        output_names: Any,
        feed_inputs: dict[str, Any],
        attributes: dict[str, Any] | None = None,
        intermediate: bool = False,
        check_shape_annotations: bool | None = None,
        _bindings: Any = None,
    ) -> Any:
        checks = self.check_shape_annotations_ or check_shape_annotations or _bindings is not None
        asked = attributes or intermediate or self.verbose or checks
        if not asked and not self._usual and self.onnx_graph_ is not None:
            try:
                if self._plan is None:
                    self._plan = _planned(self)
                return self._plan.run(
                    self.output_names if output_names is None else output_names, feed_inputs
                )
            except Exception:
                self._usual = True
        return super().run(
            output_names, feed_inputs, attributes, intermediate, check_shape_annotations, _bindings
        )


@dataclass(frozen=True)
class _Step:
    """One node: what it takes and gives by name.

    context  whether it reads more of what was computed than its inputs
    """

    call: Call
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    context: bool


@dataclass(frozen=True)
class _Plan:
    """known     initializers and what was computed of them
    computed  those of `known` that the steps rely on: who feeds one of them is served by ONNX's evaluator
    """

    known: dict[str, Any]
    computed: frozenset[str]
    steps: tuple[_Step, ...]

    def run(self, output_names: Sequence[str], feeds: dict[str, Any]) -> list[Any]:
        """NotSmooth, or whatever an operator raises, where ONNX's evaluator has to say what comes of it."""
        if not self.computed.isdisjoint(feeds):
            raise NotSmooth("a constant is fed")
        results = self.known | feeds
        for step in self.steps:
            inputs = [results[name] for name in step.inputs]
            outputs = step.call(*inputs, context=results) if step.context else step.call(*inputs)
            for name, value in zip(step.outputs, outputs, strict=False):
                results[name] = value
        return [_own(results[name]) for name in output_names]


def _own(value: Any) -> Any:
    """An output that may be written to: a constant that was computed once is handed out as a copy."""
    return value.copy() if isinstance(value, np.ndarray) and not value.flags.writeable else value


def _planned(evaluator: PreparedEvaluator) -> _Plan:
    """What is left of a graph for each run, after all that depends on constants alone."""
    nodes = evaluator.rt_nodes_
    initializers: dict[str, Any] = {"": None} | evaluator.rt_inits_
    constant = set(initializers) - set(evaluator.input_names)
    if any("" in node.output for node in nodes):
        constant.discard("")  # the evaluator gives it to who has no input there
    known, computed, steps = dict(initializers), set[str](), list[_Step]()
    for node in nodes:
        inputs, outputs = tuple(node.input), tuple(node.output)
        call = _call(node, [known[name] if name in constant else None for name in inputs])
        if constant.issuperset(inputs) and _of_inputs_alone(node) and "" not in outputs:
            found = call(*(known[name] for name in inputs))
            for name, value in zip(outputs, found, strict=False):
                known[name] = _kept(value)
                constant.add(name)
                computed.add(name)
        else:
            steps.append(_Step(call, inputs, outputs, node.need_context()))
    if not any(step.context for step in steps):  # a graph inside may read anything
        read = {name for step in steps for name in step.inputs} | {"", *evaluator.output_names}
        known = {name: value for name, value in known.items() if name in read or name in initializers}
    return _Plan(known, frozenset(computed | (constant - {""})), tuple(steps))


def _of_inputs_alone(node: OpRun) -> bool:
    """Whether it gives the same each time."""
    inside = node.need_context() or node.has_subgraph or isinstance(node, OpFunction)
    return not inside and node.op_type not in {*RANDOM, "Dropout"}


def _kept(value: Any) -> Any:
    """A constant that no operator can write to: some work in place, and would find another one in the next run."""
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
    return value


def _call(node: OpRun, constants: Constants) -> Call:
    """What computes a node without saying that it does, and without reading its attributes each time.

    The types that ONNX's evaluator asks for are asked for here; where they are others, NotSmooth.
    """
    run, own = type(node).run, cast(Call, node._run)
    if node.has_linked_attribute or node.has_subgraph or node.need_context():
        return node.run
    if run is OpRun.run:
        if isinstance(node, PreparedOp):
            return _checked(node, node.prepared(constants))
        attributes = {name: getattr(node, name) for name in node.attributes_names_}
        call = _checked(node, lambda *inputs: own(*inputs, **attributes))
        return _by_type(call) if is_standard(node, "CastLike") and constants[0] is not None else call
    if run is OpRunUnary.run:
        return _checked(node, lambda x: own(x))
    if run is OpRunUnaryNum.run:
        return _of_one_type(_checked(node, lambda x: own(x)))
    if run is OpRunBinary.run:
        return _of_one_type(_checked(node, lambda x, y: own(x, y)), answer=False)
    if run is OpRunBinaryNum.run and type(node)._run is OpRunBinaryNumpy._run:
        function = cast(Any, node).numpy_fct
        return _of_one_type(_checked(node, lambda x, y: (function(x, y),)))
    if run is OpRunBinaryNum.run:
        return _of_one_type(_checked(node, lambda x, y: own(x, y)))
    return node.run


def _by_type(call: Call) -> Call:
    """A constant that is cast, once for each type."""
    made: dict[Any, Any] = {}

    def by_type(constant: Any, like: Any) -> Any:
        if like.dtype not in made:
            made[like.dtype] = tuple(map(_kept, call(constant, like)))
        return made[like.dtype]

    return by_type


def _checked(node: OpRun, call: Call) -> Call:
    def checked(*inputs: Any) -> Any:
        outputs = call(*inputs)
        if type(outputs) is tuple and outputs and all(type(output) is np.ndarray for output in outputs):
            return outputs
        return node._check_and_fix_outputs(outputs)

    return checked


def _of_one_type(call: Call, answer: bool = True) -> Call:
    def of_one_type(*inputs: Any) -> Any:
        kind = inputs[0].dtype
        if any(x.dtype != kind for x in inputs[1:]):
            raise NotSmooth("inputs of two types")
        outputs = call(*inputs)
        if answer and outputs[0].dtype != kind:
            raise NotSmooth("an output of another type")
        return outputs

    return of_one_type
