"""BlockLinearAttention: softmax attention inside blocks plus linear attention over earlier blocks."""

import torch

from temport.custom_ops.block_linear_attention.onnx_body import body, specialise
from temport.custom_ops.block_linear_attention.reference import reference
from temport.custom_ops.block_linear_attention.schema import SCHEMA
from temport.custom_ops.block_linear_attention.torch_op import block_linear_attention
from temport.custom_ops.op import CustomOp
from temport.custom_ops.sequence_node import SequenceNode

OP = CustomOp(
    SCHEMA,
    reference,
    specialise,
    body,
    torch.ops.temport.block_linear_attention.default,
    join=SequenceNode.joined,
)

__all__ = ["OP", "block_linear_attention"]
