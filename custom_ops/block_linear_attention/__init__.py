"""BlockLinearAttention: softmax attention inside blocks plus linear attention over earlier blocks."""

from custom_ops.block_linear_attention.torch_op import block_linear_attention

__all__ = ["block_linear_attention"]
