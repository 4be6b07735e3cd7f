"""Rows of a tensor by an index tensor, as the one ONNX operator that says it."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnxscript import opset18
from onnxscript.function_libs.torch_lib.ops.core import aten_index

op: Any = opset18  # its stubs want one element type, which a translation leaves open


def translate_index(data: Any, indices: Any) -> Any:
    """data[indices] in torch's sense. One integer tensor that counts along the first axis is `Gather`, whatever its
    axes, negative numbers too; anything else stays with torch, which says it by `GatherND` and reshapes.
    """
    first, *others = indices
    if first is not None and first.dtype != ir.DataType.BOOL and all(index is None for index in others):
        return op.Gather(data, first, axis=0)
    return aten_index(data, indices)
