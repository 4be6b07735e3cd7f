"""Fourier transforms are refused: ONNX's DFT is missing in TensorRT, and where runtimes have it they do not agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from temport.exporter.errors import UserError

TRANSFORMS = {
    torch.ops.aten._fft_r2c.default: "rfft",
    torch.ops.aten._fft_c2r.default: "irfft",
    torch.ops.aten._fft_c2c.default: "fft",
}


def refusals() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For each transform a translation that says what to do instead."""
    return {op: _refusing(name) for op, name in TRANSFORMS.items()}


def _refusing(name: str) -> Callable[..., Any]:
    def translate(*given: Any, **named: Any) -> Any:
        raise UserError(
            f"aten.fft_{name} has no form that runtimes agree on: write a causal convolution as "
            "torch.nn.functional.conv1d with its kernel as the weight, or a transform of fixed length as a product "
            "with its matrix"
        )

    return translate
