"""Every custom op by its ONNX name."""

from importlib import import_module
from typing import Any

from temport.custom_ops.op import CustomOp

FOLDERS = (
    "online_softmax_attention",
    "block_linear_attention",
    "cached_attention",
    "cached_block_linear_attention",
    "fused_dense",
    "fused_gru",
    "fused_lstm",
    "moving_average",
    "residual_layer_norm",
)
"""One for each op; its `OP` says the rest."""

OPS: dict[str, CustomOp[Any]] = {
    op.name: op for op in (import_module(f"temport.custom_ops.{folder}").OP for folder in FOLDERS)
}
"""Every op by its ONNX name."""
