"""Biases of a quantised model, int32 with a scale, as the float numbers that they stand for.

TensorRT dequantises int8, int4 and fp8 and refuses int32, which onnxruntime's quantizer stores biases in.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from temport.exporter.compilers.graph_edit import GraphEdit
from temport.exporter.graph.standard_operator import is_standard


def lower_biases(model: ir.Model) -> None:
    """Replace, in place, every `DequantizeLinear` of an int32 constant by what it gives."""
    for node in list(model.graph):
        values = node.inputs[0] if is_standard(node, "DequantizeLinear") else None
        if values is not None and values.dtype == ir.DataType.INT32 and _is_constant(node):
            edit = GraphEdit(model.graph, node)
            edit.replace(node, edit.constant(_evaluated(node, model.opset_imports[""]), "numbers"))


def _is_constant(node: ir.Node) -> bool:
    return all(value is None or value.const_value is not None for value in node.inputs)


def _evaluated(node: ir.Node, opset: int) -> np.ndarray:
    feeds = {
        str(v.name): v.const_value.numpy() for v in node.inputs if v is not None and v.const_value is not None
    }
    (result,) = ReferenceEvaluator(ir.to_proto(node), opsets={"": opset}).run(None, feeds)
    return np.asarray(result)
