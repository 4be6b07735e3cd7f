"""The complementary error function, which ONNX lacks, without the cancellation of 1 - Erf."""

from __future__ import annotations

from functools import reduce
from typing import Any

from onnxscript import opset18

op: Any = opset18  # its stubs want one element type, which a translation leaves open

CHEBYSHEV = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
)  # fmt: skip
"""Coefficients in powers of t of log(erfc(z) exp(z^2) / t), t = 1/(1 + z/2), for z >= 0: relative error below 1.2e-7
everywhere (Press et al., Numerical Recipes, section 6.2). A sum 1 - Erf(z) has none of its digits left at z = 4."""


def translate_erfc(z: Any) -> Any:
    """erfc(z) elementwise, any shape; relative accuracy of float32 in the tail too."""

    def number(value: float) -> Any:
        return op.CastLike(op.Constant(value_float=value), z)

    size = op.Abs(z)
    t = op.Div(number(1.0), op.Add(number(1.0), op.Mul(number(0.5), size)))
    series = reduce(
        lambda total, c: op.Add(number(c), op.Mul(t, total)), CHEBYSHEV[-2::-1], number(CHEBYSHEV[-1])
    )
    tail = op.Mul(t, op.Exp(op.Sub(series, op.Mul(size, size))))
    # 1 right of zero, 0 left of it and 1/2 at it: both sides are then added without cancelling
    right = op.Mul(number(0.5), op.Add(number(1.0), op.Sign(z)))
    left = op.Sub(number(1.0), right)
    return op.Add(op.Mul(right, tail), op.Mul(left, op.Sub(number(2.0), tail)))
