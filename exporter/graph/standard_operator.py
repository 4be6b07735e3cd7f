"""Which nodes are operators of ONNX itself: its domain has two names, the empty one and `ai.onnx`."""

from __future__ import annotations

from typing import Any

RANDOM = (
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
)  # fmt: skip
"""Operators that are no function of their inputs; Dropout is one more while it trains."""


def is_standard(node: Any, *operators: str) -> bool:
    """Whether `node`, of onnx_ir or a NodeProto, is one of these ai.onnx operators; any of them where none is named."""
    return node.domain in ("", "ai.onnx") and (not operators or node.op_type in operators)
