"""Attention whose mask is as long as the scores: ONNX's evaluator reads `is_causal` off the shape of the mask.

Under a mask of keys alone, `[batch, 1, 1, S]`, every query sees what the first one sees there (onnx 1.23). ONNX's text,
OpenVINO and torch take the mask for every query; ONNX Runtime refuses one of that shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_attention import Attention_24 as Evaluated


class Attention(Evaluated):
    """The evaluator's own, with a mask of one row repeated for all queries."""

    op_domain = ""

    def _run(  # type: ignore[override]  # inputs by place, attributes by name, as the evaluator calls it
        self, q: npt.NDArray[Any], k: npt.NDArray[Any], v: npt.NDArray[Any], *others: Any, **attributes: Any
    ) -> tuple[npt.NDArray[Any], ...]:
        mask, *rest = others or (None,)
        if mask is not None and mask.ndim > 1:
            mask = np.broadcast_to(mask, (*mask.shape[:-2], q.shape[-2], mask.shape[-1]))
        return tuple(super()._run(q, k, v, mask, *rest, **attributes))


MASKED_ATTENTION: list[type[OpRun]] = [Attention]
