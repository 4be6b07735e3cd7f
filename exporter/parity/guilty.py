"""Which pass made a file wrong: the graph after each pass, in float64, against the oracle.

A failed gate with a faulty file says which tensor is wrong; this says who did it. The passes are searched by halves,
since evaluating a graph costs far more than rewriting it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from temport.exporter.build import Built, rewrite
from temport.exporter.declare.declaration import Declaration
from temport.exporter.parity.before_rounding import LOWERING
from temport.exporter.parity.compare import max_abs
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.parity.oracle import Truth
from temport.exporter.parity.result import FAIL, ParityReport
from temport.exporter.parity.stream import StreamSession
from temport.exporter.passes.order import way_out
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.op_reference import without_bodies


def guilty_pass(built: Built, report: ParityReport, truths: Sequence[Truth]) -> str | None:
    """One sentence on who made the file wrong, for the first case in which its own graph leaves the bound.

    None where the graph itself, in float64, is right in every failed case: then it is a runtime that is wrong.
    """
    rows = (*report.checks, *report.runtimes)
    failed = {result.case for row in rows for result in row.results if result.verdict == FAIL}
    stages = _Stages(built)
    for truth in truths:
        end = stages.wrong_end(truth) if truth.case.name in failed else None
        if end is not None:
            name = stages.first_wrong(truth, end)
            if name is None:
                return (
                    f"{truth.case.name}: the traced graph already differs from the source, no pass made it so"
                )
            return (
                f"{truth.case.name}: the pass {name} makes the graph wrong; {way_out(name)}, "
                "and see the graph after each pass with --keep-passes DIR"
            )
    return None


@dataclass(frozen=True)
class _Stage:
    name: str
    model: onnx.ModelProto


class _Stages:
    """The graph as traced and after each pass."""

    def __init__(self, built: Built) -> None:
        self.declaration = built.declaration
        self.found: list[_Stage] = []
        rewrite(built.traced, built.declaration, self._keep)
        names = [stage.name for stage in self.found]
        self.lowered = names.index(LOWERING) if LOWERING in names else len(names)

    def _keep(self, name: str, model: ir.Model) -> None:
        self.found.append(_Stage(name, without_bodies(ir.to_proto(model))))

    def is_right(self, index: int, truth: Truth) -> bool:
        try:
            outputs = _run(self.found[index].model, self.declaration, truth.case.inputs)
        except Exception:  # a graph that cannot be evaluated is no right one
            return False
        # before its weights are rounded the graph has to be the torch source, afterwards the source with these
        truth = truth.source if truth.source is not None and index < self.lowered else truth
        return all(
            outputs[name].shape == expected.shape
            and max_abs(outputs[name], expected) <= truth.allowed_of_file(name)
            for name, expected in truth.outputs.items()
        )

    def wrong_end(self, truth: Truth) -> int | None:
        """The last stage where that is wrong, or the last before rounding: what is rounded is wrong since then."""
        ends = (self.lowered - 1, len(self.found) - 1)
        return next((end for end in dict.fromkeys(ends) if not self.is_right(end, truth)), None)

    def first_wrong(self, truth: Truth, wrong: int) -> str | None:
        """A pass before which the graph is right and after which it is wrong; None where the trace is wrong."""
        if not self.is_right(0, truth):
            return None
        right = 0
        while wrong - right > 1:
            middle = (right + wrong) // 2
            if self.is_right(middle, truth):
                right = middle
            else:
                wrong = middle
        return self.found[wrong].name


def _run(model: onnx.ModelProto, declaration: Declaration, inputs: Arrays) -> Arrays:
    session = Float64Graph(model)
    return StreamSession(session, declaration).run(inputs) if declaration.streaming else session.run(inputs)
