"""The ONNX graph itself in float64: what the file says, free of any runtime and of any function body.

Custom ops are evaluated by their references, never by the bodies or kernels under test.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto

from temport.custom_ops.table import OPS
from temport.exporter.graph.prepared_evaluator import PreparedEvaluator
from temport.exporter.graph.retyped import retyped
from temport.exporter.parity.compare import EPS
from temport.exporter.runtimes.contract import Arrays, Closing
from temport.exporter.runtimes.evaluator_ops import EVALUATOR_OPS
from temport.exporter.runtimes.op_reference import REFERENCE_OPS, without_bodies
from temport.exporter.runtimes.prepare import inline


def evaluate(model: onnx.ModelProto, inputs: Arrays, *, double: bool, bodies: bool = False) -> Arrays:
    """Every floating-point tensor of the main graph by name, in topological order, and its outputs of any type.

    double  promote inputs, weights, constants and casts to float64; False keeps the file's own types
    bodies  evaluate custom ops by the function bodies in the file instead of by their references
    """
    model = inline(model) if bodies else without_bodies(model)
    if double:
        model = promoted(model)
        inputs = {n: a if a.dtype.kind in "biu" else a.astype(np.float64) for n, a in inputs.items()}
    evaluator = PreparedEvaluator(model, new_ops=EVALUATOR_OPS if bodies else REFERENCE_OPS)
    with np.errstate(all="ignore"):  # what is not finite shows in the numbers
        # run() is annotated for the list that it gives without `intermediate`
        results = cast(dict[str, Any], evaluator.run(None, inputs, intermediate=True))
    outputs = {output.name for output in model.graph.output}
    return {
        name: value
        for name, value in results.items()
        if isinstance(value, np.ndarray) and (value.dtype.name in EPS or name in outputs)
    }


class Float64Graph(Closing):
    """A graph in float64 as a session: custom ops by their definitions, weights as the graph holds them."""

    path, version = "float64, ops by their definitions", f"onnx {onnx.__version__}"

    def __init__(self, model: onnx.ModelProto) -> None:
        self._evaluator = PreparedEvaluator(promoted(without_bodies(model)), new_ops=REFERENCE_OPS)
        self._names = [output.name for output in model.graph.output]

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs by name, float64."""
        wide = {n: a if a.dtype.kind in "biu" else a.astype(np.float64) for n, a in inputs.items()}
        with np.errstate(all="ignore"):  # what is not finite shows in the numbers
            results: Any = self._evaluator.run(self._names, wide)
        return dict(zip(self._names, results, strict=True))


def inside_fused_ops(model: onnx.ModelProto, inputs: Arrays) -> tuple[Arrays, dict[str, str]]:
    """What the main graph does not show of the standard operators that a fused op stands for, in float64.

    Returns those tensors by name, and for each the tensor of the main graph that its node gives in the end.
    """
    fused = [(op.domain, op.name) for op in OPS.values() if op.torch_op is None]
    expanded = onnx.inliner.inline_selected_functions(model, fused) if model.functions else model
    shown = {name for node in model.graph.node for name in node.output}
    owners: dict[str, str] = {}
    hidden: list[str] = []
    for node in expanded.graph.node:  # the nodes of a body stand together, and the last one gives the result
        if shown.isdisjoint(node.output):
            hidden += node.output
        else:
            owners |= dict.fromkeys(hidden, next(name for name in node.output if name in shown))
            hidden = []
    tensors = evaluate(expanded, inputs, double=True)
    return {name: value for name, value in tensors.items() if name in owners}, owners


def promoted(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a function-free model in which every floating-point type is float64."""
    return retyped(model, TensorProto.DOUBLE)
