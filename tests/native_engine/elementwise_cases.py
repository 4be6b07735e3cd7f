"""Cases of operators that treat each element by itself."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from tests.native_engine.engine_of_graphs import Case, Given, case

ODD = Given(("n", 3, 5), special=True)
ENDS = [(k, low) for k in ("int64", "int32") for low in (np.iinfo(k).min, np.iinfo(k).max - 2)]
"""Where whole numbers wrap around."""
UNARY = [
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Ceil",
    "Cos",
    "Cosh",
    "Erf",
    "Exp",
    "Floor",
    "Log",
    "Neg",
    "Reciprocal",
    "Round",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Sqrt",
    "Tan",
    "Tanh",
]
ACTIVATIONS = {
    "Celu": {"alpha": 1.5},
    "Elu": {"alpha": 0.7},
    "Gelu": {},
    "HardSigmoid": {"alpha": 0.3},
    "HardSwish": {},
    "LeakyRelu": {},
    "Mish": {},
    "Relu": {},
    "Selu": {},
    "Shrink": {"lambd": 0.8, "bias": 0.25},
    "Softplus": {},
    "Softsign": {},
    "Swish": {"alpha": 1.25},
    "ThresholdedRelu": {"alpha": 0.5},
}


def whole(dtype: str, *shape: int | str, low: int = -7, high: int = 8) -> Given:
    return Given(shape or ("n", 7), dtype, low, high)


CASES: list[Case] = [
    *(case(op, ODD) for op in UNARY),
    # what is 0 times infinity there has a limit here
    *(case(op, Given(("n", 17)), **attributes) for op, attributes in ACTIVATIONS.items()),
    *(case(op, ODD) for op in ("Relu", "LeakyRelu", "Elu", "HardSigmoid", "Softplus")),
    case("Gelu", Given(("n", 17)), approximate="tanh"),
    case("PRelu", ODD, np.array([0.1, -0.2, 0.3, 2.0, 0.0], np.float32)),
    # operands are broadcast: along inner, outer and middle axes, and both of them
    *(case(op, ODD, Given(("n", 3, 5), special=True)) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    case("Add", (3, 1, 5), ("n", 5)),
    case("Sub", ("n", 3, 1), ("b", 1, 1, 5)),
    case("Mul", ("b", 1, "n"), (4, 1)),
    case("Div", (1,), ("n", "b", 2)),
    case("Add", (), ("n",)),
    case("Mul", (), ()),
    case("Pow", Given(("n", 3), positive=True), ("n", 3), wide=2),
    case("Pow", Given(("n", 33), special=True), Given(("n", 33), special=True), wide=2),
    case("Pow", ("n", 3), whole("int64", 3), wide=2),
    case("Pow", whole("int64", "n", 3), whole("int64", 3, low=0, high=5)),
    *(case("Pow", ODD, np.array(e, np.float32)) for e in (2, 3, 0.5, -1, 1.7)),
    *(case(op, ODD, ("n", 1, 5), (5,)) for op in ("Max", "Min", "Sum", "Mean")),
    case("Sum", ("n", 2)),
    case("Max", whole("int64"), whole("int64", 7), whole("int64", "n", 1)),
    case("Clip", ODD, np.float32(-1), np.float32(0.5)),
    case("Clip", ODD, None, np.float32(0.5)),
    case("Clip", ODD, np.float32(-1)),
    case("Clip", whole("int32"), np.int32(-2), np.int32(3)),
    *(case(op, whole(kind), whole(kind, 7)) for op in ("Add", "Sub", "Mul") for kind in ("int64", "int32")),
    *(case(op, whole("int64")) for op in ("Abs", "Neg", "Sign")),
    *(
        case(op, whole(kind, low=low, high=low + 2), whole(kind, 7))
        for op in ("Add", "Sub", "Mul")
        for kind, low in ENDS
    ),
    *(case(op, whole(kind, low=low, high=low + 2)) for op in ("Abs", "Neg") for kind, low in ENDS),
    case("Relu", whole("int32")),
    case("Neg", whole("int16")),
    case("Div", whole("int32", low=0), whole("int32", 7, low=1)),
    case("Mod", whole("int64"), whole("int64", 7, low=1)),
    case("Mod", whole("int64"), whole("int64", 7, low=-9, high=-1)),
    case("Mod", whole("int32"), whole("int32", 7, low=1), fmod=1),
    case("Mod", Given(("n", 7)), Given((7,), positive=True), fmod=1),
    *(
        case("BitShift", whole("uint8", low=0), whole("uint8", low=0, high=9), direction=d)
        for d in ("LEFT", "RIGHT")
    ),
    *(case(f"Bitwise{op}", whole("int32"), whole("int32", 7)) for op in ("And", "Or", "Xor")),
    case("BitwiseNot", whole("uint8", low=0)),
    *(case(op, ODD, ODD) for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    case("Less", whole("int64", 1, "n"), whole("int64", "n", 1)),
    *(case(op, Given(("n", 5), "bool"), Given((5,), "bool")) for op in ("And", "Or", "Xor", "Equal")),
    case("Not", Given(("n", 5), "bool")),
    case("IsNaN", ODD),
    *(case("IsInf", ODD, detect_negative=n, detect_positive=p) for n, p in ((1, 1), (0, 1), (1, 0))),
    case("Where", Given(("n", 1, 5), "bool"), ODD, Given((3, 1), special=True)),
    case("Where", Given(("n", 5), "bool"), whole("int64", 5), whole("int64", "n", 1)),
    case("Cast", ("n", 5), to=TensorProto.INT64),
    case("Cast", ("n", 5), to=TensorProto.BOOL),
    case("Cast", ("n", 5), to=TensorProto.FLOAT),
    case("Cast", whole("int64"), to=TensorProto.INT32),
    case("Cast", whole("int64"), to=TensorProto.FLOAT),
    case("Cast", Given(("n", 5), "bool"), to=TensorProto.INT64),
    case("CastLike", whole("int64"), Given((2, 9, 4))),
    case("Identity", ("n", 5)),
]
