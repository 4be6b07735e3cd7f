"""ResidualLayerNorm: layer normalisation, of a sum where there is an addend."""

from temport.custom_ops.op import CustomOp
from temport.custom_ops.residual_layer_norm.onnx_body import body
from temport.custom_ops.residual_layer_norm.reference import reference
from temport.custom_ops.residual_layer_norm.schema import OP_NAME, SCHEMA

OP = CustomOp(OP_NAME, SCHEMA, reference, body)

__all__ = ["OP"]
