"""LogSoftmax without a logarithm of 0: ONNX's evaluator takes that of the softmax, which ends at 0 (onnx 1.23)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx.reference.op_run import OpRun


class LogSoftmax(OpRun):
    op_domain = ""

    def _run(self, x: npt.NDArray[Any], axis: int = -1) -> tuple[npt.NDArray[Any]]:
        if x.size == 0:
            return (x,)
        shifted = x - x.max(axis=axis, keepdims=True)
        return ((shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))).astype(x.dtype),)


LOG_SOFTMAX: list[type[OpRun]] = [LogSoftmax]
