"""Division of integers that truncates, as the one ONNX operator that says it."""

from __future__ import annotations

from typing import Any

from onnxscript import opset18
from onnxscript.function_libs.torch_lib.ops.core import aten_div_mode

op: Any = opset18  # its stubs want one element type, which a translation leaves open


def translate_division(dividend: Any, divisor: Any, rounding_mode: str | None = None) -> Any:
    """torch.div of tensors of one dtype, any shapes that broadcast. `Div` of integers truncates; the translation that
    torch has divides in float32, which holds no integer beyond 2^24. What is not such a division stays with torch.
    """
    if rounding_mode == "trunc" and dividend.dtype.is_integer():
        return op.Div(dividend, divisor)
    return aten_div_mode(dividend, divisor, rounding_mode)
