"""ONNX's reference evaluator with every custom op computed by its own float64 definition, not by its body.

This is what a native kernel will see: the node's attributes alone. A body with other masks than the
attributes say agrees with the torch source in every other runtime; here it cannot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx.reference.op_run import OpRun

from temport.custom_ops.table import OPS
from temport.exporter.declare.values import INTEGERS
from temport.exporter.errors import UserError
from temport.exporter.graph import body_domains
from temport.exporter.graph.half_rows import HalfRows
from temport.exporter.graph.prepared_evaluator import Call, Constants, PreparedEvaluator, PreparedOp
from temport.exporter.graph.traced_attention import TracedAttention
from temport.exporter.runtimes.contract import EVERY_ROUNDING, Capabilities
from temport.exporter.runtimes.evaluator_ops import EVALUATOR_OPS
from temport.exporter.runtimes.onnx_reference import ReferenceSession
from temport.exporter.runtimes.subject import Subject


def without_bodies(model: onnx.ModelProto) -> onnx.ModelProto:
    """Functions of other domains inlined, those of the custom ops dropped: the evaluator would prefer them."""
    custom = [(op.domain, op.name) for op in OPS.values()]
    if model.functions:
        model = onnx.inliner.inline_selected_functions(model, custom, exclude=True)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.functions[:]
    for node in copy.graph.node:
        node.overload = ""
    return copy


def _reference_op(name: str) -> type[OpRun]:
    """An evaluator op that computes `OPS[name].reference` and answers in the types that the schema says."""
    schema = OPS[name].schema
    types = [parameter.type_str for parameter in schema.inputs]
    like = [types.index(output.type_str) for output in schema.outputs]

    def answer(inputs: Any, given: Any, attributes: dict[str, Any]) -> tuple[Any, ...]:
        outputs = OPS[name].reference(given, attributes)
        several = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(output.astype(inputs[at].dtype) for output, at in zip(several, like, strict=False))

    def plain(attributes: dict[str, Any]) -> dict[str, Any]:
        return {k: v.item() if isinstance(v, np.generic) else v for k, v in attributes.items()}

    def run(self: OpRun, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
        return answer(inputs, inputs, plain(attributes))

    def prepared(self: OpRun, constants: Constants) -> Call:
        attributes = plain({name: getattr(self, name) for name in self.attributes_names_})
        kept = OPS[name].numbers_of_weights(constants)

        def call(*inputs: Any) -> tuple[Any, ...]:
            return answer(inputs, [kept.get(place, array) for place, array in enumerate(inputs)], attributes)

        return call

    return type(name, (PreparedOp,), {"op_domain": OPS[name].domain, "_run": run, "prepared": prepared})


REFERENCE_OPS: list[type[OpRun]] = [
    *(_reference_op(name) for name in OPS),
    TracedAttention,
    HalfRows,
    *EVALUATOR_OPS,
]
"""Evaluator classes of what is no operator of ONNX, and of what ONNX's evaluator has otherwise than ONNX."""


class OpReference:
    name = "op_reference"
    capabilities = Capabilities(
        custom_domain=True,
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
        model = body_domains.read_model(subject.model_path)
        if not has_custom_ops(model):
            raise UserError("the model has no custom ops, so onnx_reference says the same")
        evaluator = PreparedEvaluator(without_bodies(model), new_ops=REFERENCE_OPS)
        return ReferenceSession(evaluator, "op definitions, float64 inside the ops")


def has_custom_ops(model: onnx.ModelProto) -> bool:
    """Whether the main graph calls an op of the custom domain."""
    return any(node.op_type in OPS and node.domain == OPS[node.op_type].domain for node in model.graph.node)


RUNTIME = OpReference()
