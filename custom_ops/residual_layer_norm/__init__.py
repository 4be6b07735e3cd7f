"""ResidualLayerNorm: layer normalisation, of a sum where there is an addend."""

from temport.custom_ops.op import CustomOp
from temport.custom_ops.residual_layer_norm.onnx_body import body, specialise
from temport.custom_ops.residual_layer_norm.reference import reference
from temport.custom_ops.residual_layer_norm.schema import SCHEMA

OP = CustomOp(SCHEMA, reference, specialise, body)

__all__ = ["OP"]
