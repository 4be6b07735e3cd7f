"""Cases of operators that put elements in other places, pick them, or count them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from onnx import numpy_helper

from tests.native_engine.engine_of_graphs import Case, Given, case

X = Given(("n", 3, 5))


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def one(value: int) -> np.ndarray:
    return np.array(value, np.int64)


def whole(*shape: int | str, low: int = 0, high: int = 5, dtype: str = "int64") -> Given:
    return Given(shape, dtype, low, high)


def picked(axis: int) -> Callable[..., np.ndarray]:
    """What GatherElements gives, as torch has it."""

    def gathered(x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return torch.gather(torch.from_numpy(x), axis, torch.from_numpy(indices % x.shape[axis])).numpy()

    return gathered


MOVED: list[Case] = [
    *(case("Concat", X, ("n", 3, 2), ("n", 3, 1), axis=axis) for axis in (2, -1)),
    case("Concat", ("n", 3, 5), (2, 3, 5), axis=0, outputs=[("n + 2", 3, 5)]),
    case("Concat", whole("b", "n"), whole("b", "n"), axis=1, outputs=[("b", "2 * n")]),
    case("Expand", (3, 1), ints(2, 3, 4)),
    case("Expand", ("n", 1, 5), ints(1, 4, 5), outputs=[("n", 4, 5)]),
    case("Flatten", ("n", 3, 2, 5), axis=2, outputs=[("3 * n", 10)]),
    case("Reshape", ("n", 6), ints(-1, 2, 3), outputs=[("n", 2, 3)]),
    case("Squeeze", ("n", 1, 5, 1), ints(1, -1)),
    case("Unsqueeze", ("n", 5), ints(0, -1)),
    case("Pad", X, ints(0, 1, 2, 0, 0, 3), np.float32(1.5)),
    *(case("Pad", X, ints(0, 1, 2, 0, 2, 3), mode=mode) for mode in ("edge", "reflect")),
    case("Pad", X, ints(0, 2, 4, 0, 1, 2), mode="wrap"),
    case("Pad", X, ints(3, 1), None, ints(0), outputs=[("n + 4", 3, 5)]),
    case(
        "Pad", X, ints(0, -1, -2, 0, 3, -1), truth=lambda x: np.pad(x[:, 1:, 2:-1], ((0, 0), (0, 3), (0, 0)))
    ),
    case("Pad", X, ints(0, 0, 0, 0, 0, 0)),
    case("Pad", whole(4, 3), ints(1, 0, 2, 0), one(7)),
    case("Slice", X, ints(1, 4), ints(3, -9), ints(1, 2), ints(1, -2)),
    case("Slice", X, ints(-1), ints(-100), ints(0), ints(-1), outputs=[("n", 3, 5)]),
    case("Slice", X, ints(-1), ints(100), ints(0), outputs=[(1, 3, 5)]),
    case("Slice", X, ints(-9, 1), ints(9, 3), ints(1, 2), ints(2, 1), outputs=[("n", 2, 2)]),
    case("Slice", ("m", 3), ints(2), ints(1000), ints(0), outputs=[("m - 2", 3)]),
    case("Slice", ("m", 3), ints(-3), ints(-1), ints(0), outputs=[(2, 3)]),
    case("Slice", (5, 5), ints(0, 0), ints(5, 1)),
    case("Slice", ("m", 3), ints(0), ints(99), ints(0), ints(3), outputs=[("-(-m // 3)", 3)]),
    case("Slice", ("m", 3), ints(0), ints(12), ints(0), outputs=[("min(m, 12)", 3)]),
    case("Concat", ("m", 3), ("n", 3), axis=0, outputs=[("m + n", 3)]),
    case("Split", X, ints(1, 3, 1), axis=2, outputs=3),
    case("Split", X, ints(1, 3, 1), axis=2, outputs=[None, "", None]),
    case("Split", (4, "n"), num_outputs=2, outputs=2),
    case("Tile", (3, 1, 2), ints(2, 3, 2)),
    case("Tile", ("n", 3), ints(1, 2), outputs=[("n", 6)]),
    case("Tile", ("n", 3), ints(2, 1), outputs=[("2 * n", 3)]),
    *(
        case("Transpose", ("n", 3, 2, 5), perm=perm)
        for perm in ([3, 1, 0, 2], [0, 2, 3, 1], [1, 0, 2, 3], [0, 3, 1, 2])
    ),
    case("Transpose", ("n", "b")),
    case("Transpose", whole(3, 1, "n"), perm=[2, 1, 0]),
    *(
        case("Trilu", ("b", 4, 5), one(k), upper=u)
        for k, u in ((0, 1), (1, 1), (-2, 1), (0, 0), (2, 0), (-9, 0), (9, 1))
    ),
    case("Trilu", ("n", "b"), upper=0),
    *(
        case("DepthToSpace", ("b", 12, 2, "n"), blocksize=2, mode=m, outputs=[("b", 3, 4, "2 * n")])
        for m in ("DCR", "CRD")
    ),
    case("SpaceToDepth", ("b", 3, 4, 6), blocksize=2),
    *(
        case("CumSum", ("n", 4, 3), one(a), exclusive=e, reverse=r)
        for a, e, r in ((1, 0, 0), (0, 1, 0), (2, 0, 1), (0, 1, 1))
    ),
    case("CumSum", whole("n", 4), one(-1)),
    case("EyeLike", (3, 5), k=1),
    case("Range", np.float32(1), np.float32(4), np.float32(0.75)),
    case("Range", one(7), one(-2), one(-3)),
    case("ConstantOfShape", ints(2, 3), value=numpy_helper.from_array(ints(7))),
    case("ConstantOfShape", ints(2, 3)),
    case("Shape", ("n", 3, "b")),
    case("Shape", ("n", 3, "b"), start=1),
    case("Size", ("n", 3, "b")),
]
PICKED: list[Case] = [
    *(case("Gather", (5, 6, 7), whole("n", 2, low=-5), axis=axis) for axis in (0, 1, -1)),
    case("Gather", ("n", 5), whole(low=-5), axis=1),
    case("Gather", whole(5), whole("n", dtype="int32")),
    *(
        case("GatherElements", (5, 6, 7), whole(5, 3, 4, low=-5), axis=axis, truth=picked(axis))
        for axis in (0, 1, 2)
    ),
    case("GatherElements", ("n", 5), whole("n", 8, low=-5), axis=1),
    case("GatherND", (5, 6, 7), whole("n", 2, 2, low=-5)),
    case("GatherND", (5, 6, 7), whole("n", 3)),
    case("GatherND", ("n", 5, 3), whole("n", 4, 1), batch_dims=1, outputs=[("n", 4, 3)]),
    *(
        case(
            "ScatterElements",
            (5, 6, 7),
            ints(*np.random.default_rng(0).permutation(5)).reshape(5, 1, 1),
            (5, 1, 1),
            axis=a,
        )
        for a in (0, 1, 2)
    ),
    *(
        case("ScatterElements", ("n", 5), whole("n", 8, low=-5), ("n", 8), axis=1, reduction=r)
        for r in ("add", "mul", "max", "min")
    ),
    case("ScatterND", (5, 6, 7), ints(1, 2, 4, 0, 0, 5).reshape(3, 2), (3, 7)),
    *(case("ScatterND", (5, 6), whole("n", 1), ("n", 6), reduction=r) for r in ("add", "mul", "max", "min")),
    case("OneHot", whole("n", 3, low=-4), one(4), np.array([0.5, 2], np.float32), outputs=[("n", 3, 4)]),
    case("OneHot", whole("n", 3), one(4), ints(0, 1), axis=1, outputs=[("n", 4, 3)]),
    *(case("TopK", ("n", 7, 3), ints(4), axis=1, largest=largest, outputs=2) for largest in (0, 1)),
    case("TopK", whole(9, "n"), ints(3), axis=0, outputs=["", None]),
    *(
        case(op, whole("n", 5, 3, dtype="int32"), axis=axis, keepdims=keep, select_last_index=last)
        for op in ("ArgMax", "ArgMin")
        for axis, keep, last in ((0, 1, 0), (1, 0, 1), (-1, 1, 0))
    ),
    case("ArgMax", Given(("n", 5), special=True), axis=1),
    *(case("Hardmax", ("n", 5, 3), axis=axis) for axis in (1, -1)),
]
CASES = [*MOVED, *PICKED]
