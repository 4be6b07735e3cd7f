"""MovingAverage: a weighted sum over the past of every channel, as two short causal convolutions."""

from custom_ops.moving_average.onnx_body import body
from custom_ops.moving_average.reference import reference
from custom_ops.moving_average.schema import OP_NAME, SCHEMA
from custom_ops.op import CustomOp

OP = CustomOp(OP_NAME, SCHEMA, reference, body)

__all__ = ["OP"]
