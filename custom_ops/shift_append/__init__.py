"""ShiftAppend: a cache of the last entries with its oldest dropped and one added."""

from custom_ops.op import CustomOp
from custom_ops.shift_append.onnx_body import body
from custom_ops.shift_append.reference import reference
from custom_ops.shift_append.schema import OP_NAME, SCHEMA

OP = CustomOp(OP_NAME, SCHEMA, reference, body, one_body=True)

__all__ = ["OP"]
