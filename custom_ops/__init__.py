"""Custom ops of domain `temport`: one folder per op, the same file names in each."""

from custom_ops.block_linear_attention import OP as _BLOCK_LINEAR
from custom_ops.block_linear_attention import block_linear_attention
from custom_ops.cached_attention import OP as _CACHED
from custom_ops.cached_attention import cached_attention
from custom_ops.cached_block_linear_attention import OP as _CACHED_BLOCK_LINEAR
from custom_ops.cached_block_linear_attention import cached_block_linear_attention
from custom_ops.fused_dense import OP as _FUSED_DENSE
from custom_ops.fused_lstm import OP as _FUSED_LSTM
from custom_ops.library import library_description, library_path
from custom_ops.mask import MaskRule
from custom_ops.moving_average import OP as _MOVING_AVERAGE
from custom_ops.online_softmax_attention import OP as _ONLINE_SOFTMAX
from custom_ops.online_softmax_attention import online_softmax_attention
from custom_ops.op import CustomOp
from custom_ops.residual_layer_norm import OP as _RESIDUAL_LAYER_NORM

OPS: dict[str, CustomOp] = {
    op.name: op
    for op in (
        _ONLINE_SOFTMAX,
        _BLOCK_LINEAR,
        _CACHED,
        _CACHED_BLOCK_LINEAR,
        _FUSED_DENSE,
        _FUSED_LSTM,
        _MOVING_AVERAGE,
        _RESIDUAL_LAYER_NORM,
    )
}
"""Every op by its ONNX name."""

__all__ = [
    "OPS",
    "MaskRule",
    "block_linear_attention",
    "cached_attention",
    "cached_block_linear_attention",
    "library_description",
    "library_path",
    "online_softmax_attention",
]
