"""MovingAverage: a weighted sum over the past of every channel, as two short causal convolutions."""

from temport.custom_ops.moving_average.onnx_body import body, specialise
from temport.custom_ops.moving_average.reference import reference
from temport.custom_ops.moving_average.schema import SCHEMA
from temport.custom_ops.op import CustomOp

OP = CustomOp(SCHEMA, reference, specialise, body)

__all__ = ["OP"]
