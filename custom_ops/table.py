"""Every custom op by its ONNX name."""

from temport.custom_ops.block_linear_attention import OP as _BLOCK_LINEAR
from temport.custom_ops.cached_attention import OP as _CACHED
from temport.custom_ops.cached_block_linear_attention import OP as _CACHED_BLOCK_LINEAR
from temport.custom_ops.fused_dense import OP as _FUSED_DENSE
from temport.custom_ops.fused_lstm import OP as _FUSED_LSTM
from temport.custom_ops.moving_average import OP as _MOVING_AVERAGE
from temport.custom_ops.online_softmax_attention import OP as _ONLINE_SOFTMAX
from temport.custom_ops.op import CustomOp
from temport.custom_ops.residual_layer_norm import OP as _RESIDUAL_LAYER_NORM

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
