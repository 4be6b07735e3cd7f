"""FusedGRU: a GRU layer whose threads share out the hidden units and keep their part of the weights."""

from temport.custom_ops.fused_gru.onnx_body import body, specialise
from temport.custom_ops.fused_gru.reference import reference
from temport.custom_ops.fused_gru.schema import SCHEMA
from temport.custom_ops.op import CustomOp
from temport.custom_ops.recurrent_layer import OUTPUTS, WEIGHTS

OP = CustomOp(SCHEMA, reference, specialise, body, weights=dict.fromkeys(WEIGHTS, OUTPUTS))

__all__ = ["OP"]
