"""ONNX's own reference evaluator (numpy), on the model with its functions inlined."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from temport.exporter.declare.values import INTEGERS
from temport.exporter.graph.prepared_evaluator import PreparedEvaluator
from temport.exporter.runtimes.contract import EVERY_ROUNDING, Arrays, Capabilities, Closing, named
from temport.exporter.runtimes.evaluator_ops import EVALUATOR_OPS
from temport.exporter.runtimes.prepare import custom_path, prepare
from temport.exporter.runtimes.subject import Subject


class ReferenceSession(Closing):
    """`path` says how the custom ops are computed."""

    version = f"onnx {onnx.__version__}"

    def __init__(self, evaluator: PreparedEvaluator, path: str) -> None:
        self.evaluator, self.path = evaluator, path

    def run(self, inputs: Arrays) -> Arrays:
        with np.errstate(all="ignore"):  # numpy would warn on stderr of what shows in the numbers
            outputs: list[Any] = list(self.evaluator.run(None, inputs))
        return named(outputs, list(self.evaluator.output_names))


class OnnxReference:
    """Functions are inlined: the evaluator fails on a function call that omits an optional input."""

    name = "onnx_reference"
    capabilities = Capabilities(
        custom_domain=False,
        functions=False,
        opsets=(1, onnx.defs.onnx_opset_version()),
        dtypes=frozenset({"bool", "float16", "bfloat16", "float32", "float64", *INTEGERS}),
        dynamic_axes=True,
        intermediates=True,
        fp8=True,
        rounds=EVERY_ROUNDING,
    )

    def unavailable(self) -> str | None:
        return None

    def open(self, subject: Subject, threads: int = 1) -> ReferenceSession:
        path = custom_path(onnx.load(subject.model_path, load_external_data=False), "inlined body")
        model = prepare(subject.model_path, self.capabilities)
        return ReferenceSession(PreparedEvaluator(model, new_ops=EVALUATOR_OPS), path)


RUNTIME = OnnxReference()
