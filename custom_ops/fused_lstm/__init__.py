"""FusedLSTM: an LSTM layer whose threads share out the hidden units and keep their part of the weights."""

from temport.custom_ops.fused_lstm.onnx_body import body
from temport.custom_ops.fused_lstm.reference import reference
from temport.custom_ops.fused_lstm.schema import OP_NAME, SCHEMA
from temport.custom_ops.op import CustomOp

OP = CustomOp(OP_NAME, SCHEMA, reference, body, one_body=True)

__all__ = ["OP"]
