"""Operators as they were: ONNX's evaluator knows the newer ones only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx.reference.op_run import OpRun

Array = npt.NDArray[Any]


class _OverSeveralAxes(OpRun):
    """Before opset 13, a softmax went over all axes from its `axis` on, the second by default."""

    op_domain = ""

    def _run(self, x: Array, **newer: Any) -> tuple[Array]:
        # what is given here has the newest default
        axis = next((a.i for a in self.onnx_node.attribute if a.name == "axis"), 1)
        rows = x.reshape(int(np.prod(x.shape[: axis % x.ndim])), -1)
        return (self.of_rows(rows - rows.max(axis=1, keepdims=True)).reshape(x.shape).astype(x.dtype),)

    def of_rows(self, rows: Array) -> Array:
        """The same for each row, whose largest number is 0; each of the three has its own."""
        raise NotImplementedError


class Softmax(_OverSeveralAxes):
    def of_rows(self, rows: Array) -> Array:
        weights = np.exp(rows)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))


class LogSoftmax(_OverSeveralAxes):
    def of_rows(self, rows: Array) -> Array:
        return np.asarray(rows - np.log(np.exp(rows).sum(axis=1, keepdims=True)))


class Hardmax(_OverSeveralAxes):
    def of_rows(self, rows: Array) -> Array:
        return np.eye(rows.shape[1], dtype=rows.dtype)[rows.argmax(axis=1)]


class BatchNormalization(OpRun):
    """Before opset 14, one output says that statistics are given, whatever the momentum."""

    op_domain = ""
    epsilon: float

    def _run(
        self, x: Array, scale: Array, bias: Array, mean: Array, variance: Array, **given: Any
    ) -> tuple[Array]:
        shape = (-1, *[1] * (x.ndim - 2))
        factor = scale / np.sqrt(variance + np.asarray(self.epsilon, variance.dtype))
        return ((x * factor.reshape(shape) + (bias - mean * factor).reshape(shape)).astype(x.dtype),)


class DequantizeLinear(OpRun):
    """One scale, or one for each place along an axis; blocks are newer."""

    op_domain = ""

    def _run(
        self, x: Array, scale: Array, zero: Array | None = None, axis: int = 1, **newer: Any
    ) -> tuple[Array]:
        shape = [1] * x.ndim
        if scale.ndim:
            shape[axis] = scale.size
        steps = x.astype(np.int64) - (0 if zero is None else zero.astype(np.int64).reshape(shape))
        return ((steps * scale.reshape(shape)).astype(scale.dtype),)


_OLD: dict[int, list[type[OpRun]]] = {
    13: [Softmax, LogSoftmax, Hardmax],
    14: [BatchNormalization],
    19: [DequantizeLinear],
}
"""By the first opset that has them otherwise."""


def old_operators(opset: int) -> list[type[OpRun]]:
    """Evaluator classes for a graph of that opset."""
    return [operator for newer, operators in _OLD.items() if opset < newer for operator in operators]
