"""CachedBlockLinearAttention: one frame of block-linear attention, its block in a ring of rows, its sums carried."""

import torch

from temport.custom_ops.cached_block_linear_attention.onnx_body import body, specialise
from temport.custom_ops.cached_block_linear_attention.reference import reference
from temport.custom_ops.cached_block_linear_attention.schema import SCHEMA
from temport.custom_ops.cached_block_linear_attention.torch_op import cached_block_linear_attention
from temport.custom_ops.op import CustomOp

OP = CustomOp(SCHEMA, reference, specialise, body, torch.ops.temport.cached_block_linear_attention.default)

__all__ = ["OP", "cached_block_linear_attention"]
