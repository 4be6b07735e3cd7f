"""OnlineSoftmaxAttention: softmax attention over tiles of keys with a running maximum and sum."""

import torch

from temport.custom_ops.online_softmax_attention.onnx_body import body, specialise
from temport.custom_ops.online_softmax_attention.reference import reference
from temport.custom_ops.online_softmax_attention.schema import SCHEMA
from temport.custom_ops.online_softmax_attention.torch_op import online_softmax_attention
from temport.custom_ops.op import CustomOp
from temport.custom_ops.sequence_node import SequenceNode

OP = CustomOp(
    SCHEMA,
    reference,
    specialise,
    body,
    torch.ops.temport.online_softmax_attention.default,
    join=SequenceNode.joined,
)

__all__ = ["OP", "online_softmax_attention"]
