"""ResidualLayerNorm: layer normalisation, of a sum where there is an addend."""

from custom_ops.op import CustomOp
from custom_ops.residual_layer_norm.onnx_body import body
from custom_ops.residual_layer_norm.reference import reference
from custom_ops.residual_layer_norm.schema import OP_NAME, SCHEMA

OP = CustomOp(OP_NAME, SCHEMA, reference, body)

__all__ = ["OP"]
