"""Softmax as it was before opset 13: over all axes from `axis` on. ONNX's evaluator knows the newer one only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx.reference.op_run import OpRun

Array = npt.NDArray[Any]
FIRST_OF_ONE_AXIS = 13


def _rows(x: Array, axis: int) -> Array:
    return x.reshape(int(np.prod(x.shape[:axis] if axis >= 0 else x.shape[: x.ndim + axis])), -1)


def _exp(rows: Array) -> Array:
    return np.asarray(np.exp(rows - rows.max(axis=1, keepdims=True)))


class Softmax(OpRun):
    op_domain = ""

    def _run(self, x: Array, axis: int | None = None) -> tuple[Array]:
        weights = _exp(_rows(x, 1 if axis is None else axis))
        return ((weights / weights.sum(axis=1, keepdims=True)).reshape(x.shape).astype(x.dtype),)


class LogSoftmax(OpRun):
    op_domain = ""

    def _run(self, x: Array, axis: int | None = None) -> tuple[Array]:
        rows = _rows(x, 1 if axis is None else axis)
        moved = rows - rows.max(axis=1, keepdims=True)
        return ((moved - np.log(np.exp(moved).sum(axis=1, keepdims=True))).reshape(x.shape).astype(x.dtype),)


class Hardmax(OpRun):
    op_domain = ""

    def _run(self, x: Array, axis: int | None = None) -> tuple[Array]:
        rows = _rows(x, 1 if axis is None else axis)
        return (np.eye(rows.shape[1], dtype=x.dtype)[rows.argmax(axis=1)].reshape(x.shape),)


OLD_OPS: list[type[OpRun]] = [Softmax, LogSoftmax, Hardmax]
