"""Cases of products of matrices, and of softmax."""

from __future__ import annotations

import numpy as np

from tests.native_engine.engine_of_graphs import Case, Given, case

rng = np.random.default_rng(9)


def floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def log_softmax(x: np.ndarray) -> np.ndarray:
    """ONNX's evaluator takes the logarithm of a softmax, which is 0 far below the greatest entry."""
    below = x - x.max(-1, keepdims=True)
    return below - np.log(np.exp(below).sum(-1, keepdims=True))


CASES: list[Case] = [
    # with weights
    case("MatMul", ("b", "n", 7), floats(7, 33)),
    case("MatMul", ("n", 130), floats(1, 1, 130, 5), wide=16),
    case("MatMul", ("n", 6), floats(6)),
    case("MatMul", (2, "n", 6), floats(2, 6, 18)),
    case("MatMul", floats(3, 5), (5, "m")),
    # of computed ones: batches that are rows, broadcast on either side, or of no use
    case("MatMul", ("n", "m"), ("m", 19), wide=4),
    case("MatMul", ("b", "n", "m"), ("b", "m", 3), wide=4),
    case("MatMul", ("b", "n", 5), (5, "m")),
    case("MatMul", ("n", 5), ("b", 5, "m")),
    case("MatMul", ("b", 1, 4, 6), (3, 6, "n")),
    case("MatMul", ("b", 2, 1, 6), ("b", 2, 6, 70)),
    case("MatMul", (1, "n", 6), ("b", 2, 6, 4)),
    case("MatMul", (5,), ("b", 5, "n")),
    case("MatMul", ("b", "n", 5), (5,)),
    case("MatMul", ("m",), ("m",), wide=4),
    case("Gemm", ("n", 6), floats(6, 20), floats(20), alpha=0.5, beta=-2.0),
    case("Gemm", ("n", 6), floats(20, 6), floats(1), transB=1),
    case("Gemm", (6, "n"), floats(6, 20), ("n", 20), transA=1, beta=3.0),
    case("Gemm", ("n", 6), floats(6, 20), ("n", 1)),
    case("Gemm", ("n", 6), ("m", 6), ("m",), transB=1, alpha=0.25),
    # six products of either sign: the sum may be a tenth of the largest, whose rounding it keeps
    case("Gemm", (6, "n"), (6, "m"), transA=1, alpha=-1.5, wide=4),
    case("Gemm", ("n", 6), (6, "m")),
    # spelled as ONNX defines it
    case("Attention", *[("b", "n", 24)] * 3, is_causal=1, q_num_heads=3, kv_num_heads=3, wide=4),
    case(
        "Attention",
        ("b", 4, "n", 8),
        ("b", 2, "m", 8),
        ("b", 2, "m", 6),
        (1, "m"),
        scale=0.4,
        softcap=2.0,
        wide=4,
    ),
    case("Attention", (2, 2, 5, 8), (2, 2, 7, 8), (2, 2, 7, 6), Given((5, 7), "bool"), wide=4),
    *(case(op, ("b", "n", 7), axis=axis) for op in ("Softmax", "LogSoftmax") for axis in (-1, 0, 1)),
    *(case(op, ("b", "m", 2), axis=1) for op in ("Softmax", "LogSoftmax")),
    *(case(op, (3, "m")) for op in ("Softmax", "LogSoftmax")),
    case("Softmax", Given((4, "m"), special=True)),
    case("LogSoftmax", Given((4, "m"), special=True), truth=log_softmax),
]
