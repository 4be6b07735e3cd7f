"""FusedGRU: a GRU layer whose threads share out the hidden units and keep their part of the weights."""

from temport.custom_ops.fused_gru.onnx_body import body, specialise
from temport.custom_ops.fused_gru.reference import reference
from temport.custom_ops.fused_gru.schema import SCHEMA
from temport.custom_ops.op import CustomOp

OP = CustomOp(SCHEMA, reference, specialise, body)

__all__ = ["OP"]
