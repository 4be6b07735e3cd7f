"""Cases of reductions and normalisation."""

from __future__ import annotations

import numpy as np
import torch

from tests.native_engine.engine_of_graphs import Case, Given, case
from tests.native_engine.movement_cases import ints

rng = np.random.default_rng(7)


def floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def spread(*shape: int) -> np.ndarray:
    return (rng.random(shape) + 0.5).astype(np.float32)


def lp_normalised(x: np.ndarray, p: int, axis: int) -> np.ndarray:
    return torch.nn.functional.normalize(torch.from_numpy(x), p, axis).numpy()


POSITIVE = Given(("n", 3, 5), positive=True)
REDUCED = [
    *(
        f"Reduce{kind}"
        for kind in ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    ),
]
CASES: list[Case] = [
    *(
        case(op, ("n", 3, 5), ints(axis), keepdims=keep)
        for op in REDUCED
        for axis, keep in ((0, 1), (1, 0), (-1, 1))
    ),
    *(case(op, ("n", 3, 37), keepdims=0) for op in REDUCED),
    *(case(op, ("n", 3, 2, 5), ints(0, 2)) for op in REDUCED),
    case("ReduceLogSum", POSITIVE, ints(1)),
    case("ReduceLogSum", POSITIVE, ints(0, 2)),
    *(case(f"Reduce{op}", Given(("b", 3, 5), special=True), ints(2)) for op in ("Max", "Min")),
    *(case(f"Reduce{op}", Given(("b", 3, 40), special=True), ints(1)) for op in ("Max", "Min", "LogSumExp")),
    *(case(f"Reduce{op}", ("m", 3, 129), ints(2), wide=4) for op in ("Sum", "Mean", "L2", "Max")),
    *(case(f"Reduce{op}", (2, "m", 33), ints(1), wide=4) for op in ("Sum", "Mean", "Min")),
    case("ReduceMean", ("m", 3, "n"), ints(0, 2)),
    *(
        case(f"Reduce{op}", Given(("n", 4), "int64"), ints(1))
        for op in ("Sum", "Prod", "Max", "Min", "L1", "SumSquare")
    ),
    case("ReduceMax", Given(("n", 4), "bool"), ints(1)),
    # ONNX's evaluator forgets the magnitudes
    *(
        case(
            "LpNormalization",
            ("n", 3, 5),
            p=p,
            axis=axis,
            truth=lambda x, p=p, axis=axis: lp_normalised(x, p, axis),
        )
        for p in (1, 2)
        for axis in (0, 1, -1)
    ),
    *(case("LayerNormalization", ("n", 3, 20), floats(20), floats(20), wide=2) for _ in range(2)),
    case("LayerNormalization", ("n", 3, 5), floats(3, 5), floats(3, 5), axis=1, wide=2),
    case("LayerNormalization", ("n", 3, 5), floats(5), None, axis=-2, epsilon=1e-3, wide=2),
    case("LayerNormalization", ("n", 3, 33), (33,), (33,), wide=2),
    case("RMSNormalization", ("n", 3, 37), floats(37)),
    case("RMSNormalization", ("n", 3, 5), floats(3, 5), axis=1, epsilon=1e-3),
    case("BatchNormalization", ("b", 3, "n"), floats(3), floats(3), floats(3), spread(3)),
    case("BatchNormalization", ("b", 5), floats(5), floats(5), floats(5), spread(5), epsilon=1e-3),
    case("InstanceNormalization", ("b", 3, "m"), floats(3), floats(3), wide=2),
    case("InstanceNormalization", ("b", 2, 5, 4), floats(2), floats(2), epsilon=1e-2),
    case("GroupNormalization", ("b", 6, "m"), floats(6), floats(6), num_groups=2, wide=2),
    case("GroupNormalization", ("b", 6, 3, 3), floats(6), floats(6), num_groups=3),
]
