"""A number that a computation in float64 has beside its tensors, as it is."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnxscript import opset18
from onnxscript.function_libs.torch_lib.ops.core import aten_scalar_tensor

op: Any = opset18  # its stubs want one element type, which a translation leaves open


def translate_scalar(number: Any, dtype: int = ir.DataType.FLOAT, **where: Any) -> Any:
    """A tensor without axes. The translation that torch has makes a float32 of every number on its way to float64."""
    if isinstance(number, float) and dtype == ir.DataType.DOUBLE:
        return op.Constant(value=ir.tensor(number, dtype=ir.DataType.DOUBLE))
    return aten_scalar_tensor(number, dtype)
