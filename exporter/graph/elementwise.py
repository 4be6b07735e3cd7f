"""The rows of ai.onnx operators that treat each element by itself, up to opset 24.

In half precision an operator follows its inputs where it rounds once, or not at all, and is defined for both half
types since opset 20. Exponentials, quotients and what is made of several of them stay in float32: decomposed by a
runtime, they leave the range of float16 on the way (softplus from 11 on).
"""

from __future__ import annotations

from temport.exporter.graph.operator_row import Along, Half, Native, Operator


def _row(
    floats: str | None, others: str | None = None, half: Half = Half.SINGLE, activation: str | None = None
) -> Operator:
    return Operator(along=Along.EACH, half=half, activation=activation, native=Native(floats, others))


def _both(expression: str, half: Half = Half.SINGLE) -> Operator:
    """One that is written alike for floats and others."""
    return _row(expression, expression, half)


def _logic(expression: str, half: Half = Half.SINGLE, joins_masks: bool = False) -> Operator:
    """One whose output or inputs are no floats."""
    return Operator(along=Along.EACH, half=half, joins_masks=joins_masks, native=Native(None, expression))


_FOLLOWS, _UNTYPED = Half.FOLLOWS, Half.UNTYPED

ELEMENTWISE: dict[str, Operator] = {
    # arithmetic
    "Abs": _both("magnitude(a)", _FOLLOWS),
    "Add": _row("a + b", "plus(a, b)", _FOLLOWS),
    "BitShift": _logic("shifted<Direction::{direction}>(a, b)"),
    "BitwiseAnd": _logic("a & b"),
    "BitwiseNot": _logic("~a"),
    "BitwiseOr": _logic("a | b"),
    "BitwiseXor": _logic("a ^ b"),
    "Ceil": _row("ceil(a)", half=_FOLLOWS),
    "Clip": _both("clip({inputs})", _FOLLOWS),
    "Div": _row("a / b", "quotient(a, b)"),
    "Floor": _row("floor(a)", half=_FOLLOWS),
    "Max": _both("greatest({inputs})", _FOLLOWS),
    "Mean": _row("mean({inputs})"),
    "Min": _both("least_of({inputs})", _FOLLOWS),
    "Mod": _logic("modulo<{fmod}>(a, b)"),
    "Mul": _row("a * b", "times(a, b)", _FOLLOWS),
    "Neg": _row("-a", "negative(a)", _FOLLOWS),
    "Pow": _row("pow(a, b)", "power(a, b)"),
    "Reciprocal": _row("1.0f / a"),
    "Round": _row("round(a)"),
    "Sign": _both("sign(a)", _FOLLOWS),
    "Sqrt": _row("sqrt(a)"),
    "Sub": _row("a - b", "minus(a, b)", _FOLLOWS),
    "Sum": _both("sum({inputs})"),
    # transcendental functions
    "Acos": _row("acos(a)"),
    "Acosh": _row("acosh(a)"),
    "Asin": _row("asin(a)"),
    "Asinh": _row("asinh(a)"),
    "Atan": _row("atan(a)"),
    "Atanh": _row("atanh(a)"),
    "Cos": _row("cos(a)"),
    "Cosh": _row("cosh(a)"),
    "Erf": _row("erf(a)"),
    "Exp": _row("exp(a)"),
    "Log": _row("log(a)"),
    "Sin": _row("sin(a)"),
    "Sinh": _row("sinh(a)"),
    "Tan": _row("tan(a)"),
    # activations
    "Celu": _row("celu(a, {alpha})"),
    "Elu": _row("elu(a, {alpha})", half=_FOLLOWS),
    "Gelu": _row("gelu_{approximate}(a)", half=_FOLLOWS, activation="gelu"),
    "HardSigmoid": _row("hard_sigmoid(a, {alpha}, {beta})"),
    "HardSwish": _row("a * hard_sigmoid(a, 1.0f / 6.0f, 0.5f)"),
    "LeakyRelu": _row("select(a < 0.0f, a * {alpha}, a)", half=_FOLLOWS),
    "Mish": _row("mish(a)"),
    "PRelu": _row("select(a < 0.0f, a * b, a)", half=_FOLLOWS),
    "Relu": _row("activate<Activation::kRelu>(a)", "a < 0 ? 0 : a", _FOLLOWS, activation="relu"),
    "Selu": _row("elu(a, {alpha}) * {gamma}"),
    "Shrink": _row("shrink(a, {lambd}, {bias})"),
    "Sigmoid": _row("sigmoid(a)", half=_FOLLOWS, activation="sigmoid"),
    "Softplus": _row("softplus(a)"),
    "Softsign": _row("a / (magnitude(a) + 1.0f)"),
    "Swish": _row("swish(a, {alpha})"),
    "Tanh": _row("tanh(a)", half=_FOLLOWS),
    "ThresholdedRelu": _row("select(a <= {alpha}, Float(), a)"),
    # comparisons, logic and choice
    "And": _logic("a && b", joins_masks=True),
    "Equal": _logic("a == b"),
    "Greater": _logic("a > b"),
    "GreaterOrEqual": _logic("a >= b"),
    "IsInf": _logic("infinite<{detect_negative}, {detect_positive}>(a)", _UNTYPED),
    "IsNaN": _logic("a != a", _UNTYPED),
    "Less": _logic("a < b"),
    "LessOrEqual": _logic("a <= b"),
    "Not": _logic("!a", joins_masks=True),
    "Or": _logic("a || b"),
    "Where": _logic("a ? b : c", _FOLLOWS),
    "Xor": _logic("a != b"),
    # the same element, in another type or none
    "Cast": _logic("cast<{type}>(a)", _UNTYPED, joins_masks=True),
    "CastLike": _logic("cast<{type}>(a)"),
    "Identity": Operator(along=Along.EACH, half=Half.FOLLOWS, moves=True),
}
