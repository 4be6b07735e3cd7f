"""The rows of ai.onnx operators that treat each element by itself, up to opset 24.

In half precision an operator follows its inputs where it rounds once, or not at all, and is defined for both half
types since opset 20. Exponentials, quotients and what is made of several of them stay in float32: decomposed by a
runtime, they leave the range of float16 on the way (softplus from 11 on).
"""

from __future__ import annotations

from temport.exporter.graph.operator_row import Along, Half, Operator

_EACH = Operator(along=Along.EACH)
_FOLLOWS = Operator(along=Along.EACH, half=Half.FOLLOWS)
_UNTYPED = Operator(along=Along.EACH, half=Half.UNTYPED)

ELEMENTWISE: dict[str, Operator] = {
    # arithmetic
    "Abs": _FOLLOWS,
    "Add": _FOLLOWS,
    "BitShift": _EACH,
    "BitwiseAnd": _EACH,
    "BitwiseNot": _EACH,
    "BitwiseOr": _EACH,
    "BitwiseXor": _EACH,
    "Ceil": _FOLLOWS,
    "Clip": _FOLLOWS,
    "Div": _EACH,
    "Floor": _FOLLOWS,
    "Max": _FOLLOWS,
    "Mean": _EACH,
    "Min": _FOLLOWS,
    "Mod": _EACH,
    "Mul": _FOLLOWS,
    "Neg": _FOLLOWS,
    "Pow": _EACH,
    "Reciprocal": _EACH,
    "Round": _EACH,
    "Sign": _FOLLOWS,
    "Sqrt": _EACH,
    "Sub": _FOLLOWS,
    "Sum": _EACH,
    # transcendental functions
    "Acos": _EACH,
    "Acosh": _EACH,
    "Asin": _EACH,
    "Asinh": _EACH,
    "Atan": _EACH,
    "Atanh": _EACH,
    "Cos": _EACH,
    "Cosh": _EACH,
    "Erf": _EACH,
    "Exp": _EACH,
    "Log": _EACH,
    "Sin": _EACH,
    "Sinh": _EACH,
    "Tan": _EACH,
    # activations
    "Celu": _EACH,
    "Elu": _FOLLOWS,
    "Gelu": Operator(along=Along.EACH, half=Half.FOLLOWS, activation="gelu"),
    "HardSigmoid": _EACH,
    "HardSwish": _EACH,
    "LeakyRelu": _FOLLOWS,
    "Mish": _EACH,
    "PRelu": _FOLLOWS,
    "Relu": Operator(along=Along.EACH, half=Half.FOLLOWS, activation="relu"),
    "Selu": _EACH,
    "Shrink": _EACH,
    "Sigmoid": Operator(along=Along.EACH, half=Half.FOLLOWS, activation="sigmoid"),
    "Softplus": _EACH,
    "Softsign": _EACH,
    "Swish": _EACH,
    "Tanh": _FOLLOWS,
    "ThresholdedRelu": _EACH,
    # comparisons, logic and choice
    "And": Operator(along=Along.EACH, joins_masks=True),
    "Equal": _EACH,
    "Greater": _EACH,
    "GreaterOrEqual": _EACH,
    "IsInf": _UNTYPED,
    "IsNaN": _UNTYPED,
    "Less": _EACH,
    "LessOrEqual": _EACH,
    "Not": Operator(along=Along.EACH, joins_masks=True),
    "Or": _EACH,
    "Where": _FOLLOWS,
    "Xor": _EACH,
    # the same element, in another type or none
    "Cast": Operator(along=Along.EACH, half=Half.UNTYPED, joins_masks=True),
    "CastLike": _EACH,
    "Identity": Operator(along=Along.EACH, half=Half.FOLLOWS, moves=True),
}
