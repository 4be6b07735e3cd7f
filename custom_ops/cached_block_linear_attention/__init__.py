"""CachedBlockLinearAttention: one frame of block-linear attention, its block in a ring of rows, its sums carried."""

import torch

from temport.custom_ops.cached_block_linear_attention.attributes import OP_NAME
from temport.custom_ops.cached_block_linear_attention.onnx_body import body
from temport.custom_ops.cached_block_linear_attention.reference import reference
from temport.custom_ops.cached_block_linear_attention.schema import SCHEMA, translate
from temport.custom_ops.cached_block_linear_attention.torch_op import cached_block_linear_attention
from temport.custom_ops.op import CustomOp

OP = CustomOp(
    OP_NAME, SCHEMA, reference, body, torch.ops.temport.cached_block_linear_attention.default, translate
)

__all__ = ["OP", "cached_block_linear_attention"]
