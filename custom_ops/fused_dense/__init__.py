"""FusedDense: a dense layer, or several side by side, with what follows it row by row: activation, factor, addend."""

from temport.custom_ops.fused_dense.onnx_body import body, specialise
from temport.custom_ops.fused_dense.reference import reference
from temport.custom_ops.fused_dense.schema import OUTPUTS, SCHEMA
from temport.custom_ops.op import CustomOp

OP = CustomOp(SCHEMA, reference, specialise, body, weights={"W": OUTPUTS})

__all__ = ["OP"]
