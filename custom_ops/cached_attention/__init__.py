"""CachedAttention: the newest frame of a stream attends to the last N, which a ring of rows holds."""

import torch

from temport.custom_ops.cached_attention.onnx_body import body, specialise
from temport.custom_ops.cached_attention.reference import reference
from temport.custom_ops.cached_attention.schema import SCHEMA
from temport.custom_ops.cached_attention.torch_op import cached_attention
from temport.custom_ops.op import CustomOp

OP = CustomOp(SCHEMA, reference, specialise, body, torch.ops.temport.cached_attention.default)

__all__ = ["OP", "cached_attention"]
