"""The model file as other people's converters take it best: functions inlined, constants folded, every shape known."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from temport.exporter.graph.rounding import spell_roundings
from temport.exporter.runtimes.prepare import inline

LIMIT = 2**31
"""Elements a folded tensor may have: everything that fits one ONNX file."""


def plain_onnx(model_path: Path) -> onnx.ModelProto:
    """Operators of ai.onnx alone, weights inside, without what only our tools read."""
    inlined = inline(onnx.load(model_path))
    model = ir.from_proto(onnx.shape_inference.infer_shapes(inlined, data_prop=True))
    optimizer.fold_constants(model, input_size_limit=LIMIT, output_size_limit=LIMIT)
    _clean(model)
    model.metadata_props.clear()
    return ir.to_proto(model)


def widened(plain: onnx.ModelProto) -> onnx.ModelProto:
    """The same with weights in float32 that are stored in fewer bits, and rounding to bytes spelled out: for who
    misreads scales, or rounds otherwise.
    """
    model = ir.from_proto(plain)
    spell_roundings(model)
    optimizer.fold_constants(
        model,
        input_size_limit=LIMIT,
        output_size_limit=LIMIT,
        should_fold=lambda node: node.op_type == "DequantizeLinear",
    )
    _clean(model)
    return ir.to_proto(model)


def _clean(model: ir.Model) -> None:
    for step in (
        common.LiftConstantsToInitializersPass(size_limit=0),
        common.RemoveUnusedNodesPass(),
        common.DeduplicateInitializersPass(size_limit=LIMIT),
        common.RemoveUnusedOpsetsPass(),
    ):
        step(model)
