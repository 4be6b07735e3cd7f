"""FusedDense: a dense layer, or several side by side, with what follows it row by row: activation, factor, addend."""

from custom_ops.fused_dense.onnx_body import body
from custom_ops.fused_dense.reference import reference
from custom_ops.fused_dense.schema import OP_NAME, SCHEMA
from custom_ops.op import CustomOp

OP = CustomOp(OP_NAME, SCHEMA, reference, body)

__all__ = ["OP"]
