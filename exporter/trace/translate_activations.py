"""Activations of torch whose usual translation leaves the range of float32, or that ONNX does not know."""

from __future__ import annotations

from typing import Any

from onnxscript import opset18

op: Any = opset18  # its stubs want one element type, which a translation leaves open

FAR = -40.0
"""Below it log(sigmoid(x)) is x in float64 too; from -88 on a sigmoid is 0 in float32, and its logarithm -inf."""


def translate_log_sigmoid(x: Any) -> Any:
    """x of any shape -> log(sigmoid(x)) = -softplus(-x)."""
    far = op.CastLike(op.Constant(value_float=FAR), x)
    return op.Where(op.Less(x, far), x, op.Neg(op.Softplus(op.Neg(op.Max(x, far)))))


def translate_rrelu(
    x: Any,
    noise: Any,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    generator: Any = None,
) -> Any:
    """x of any shape -> the same with the middle slope, and the noise, which only training draws."""
    return op.LeakyRelu(x, alpha=(lower + upper) / 2), noise
