"""SkinnyGemm: a dense layer over a few rows, for which reading the weight is all the time there is."""

from custom_ops.op import CustomOp
from custom_ops.skinny_gemm.onnx_body import body
from custom_ops.skinny_gemm.reference import reference
from custom_ops.skinny_gemm.schema import OP_NAME, SCHEMA

OP = CustomOp(OP_NAME, SCHEMA, reference, body)

__all__ = ["OP"]
