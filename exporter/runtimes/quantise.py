"""QuantizeLinear in ONNX's evaluator, which loses what lies beyond 2^31 steps instead of saturating it."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_dequantize_linear import _reshape_input
from onnx.reference.ops.op_quantize_linear import QuantizeLinear_25

_MOST = 2.0**30
"""Steps: beyond all integer types that there are to quantise to, and within int32, in which the evaluator counts."""


class QuantizeLinear(QuantizeLinear_25):
    op_domain = ""

    def _run(  # type: ignore[override]  # the evaluator gives attributes by name
        self, x: Any, scale: Any, *zero: Any, axis: int = 1, block_size: int = 0, **given: Any
    ) -> Any:
        reach = _MOST * _reshape_input(scale, x.shape, axis, block_size)
        within = np.clip(x, -np.abs(reach), np.abs(reach)).astype(x.dtype)
        return super()._run(within, scale, *zero, axis=axis, block_size=block_size, **given)


QUANTISE: list[type[OpRun]] = [QuantizeLinear]
