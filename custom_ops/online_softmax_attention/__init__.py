"""OnlineSoftmaxAttention: softmax attention over tiles of keys with a running maximum and sum."""

from custom_ops.online_softmax_attention.torch_op import online_softmax_attention

__all__ = ["online_softmax_attention"]
