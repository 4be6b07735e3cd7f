"""OnlineSoftmaxAttention: softmax attention over tiles of keys with a running maximum and sum."""

import torch

from custom_ops.online_softmax_attention.attributes import OP_NAME
from custom_ops.online_softmax_attention.onnx_body import body
from custom_ops.online_softmax_attention.reference import reference
from custom_ops.online_softmax_attention.schema import SCHEMA, translate
from custom_ops.online_softmax_attention.torch_op import online_softmax_attention
from custom_ops.op import CustomOp

OP = CustomOp(OP_NAME, SCHEMA, reference, body, torch.ops.temport.online_softmax_attention.default, translate)

__all__ = ["OP", "online_softmax_attention"]
