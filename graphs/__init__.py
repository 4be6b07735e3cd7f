"""Temporal attention architectures in torch, their layers, and the registry that names them."""

from temport.graphs.architecture import Architecture, InputSpec
from temport.graphs.attention_functions import (
    chunked_attention,
    memory_efficient_attention,
    scaled_dot_product_attention,
)
from temport.graphs.attention_layers import multi_head_attention, self_attention, sliding_window_attention
from temport.graphs.baking import LengthTable, bake
from temport.graphs.dms import MultiHeadAttentionLayer
from temport.graphs.hybrid import build_hybrid, build_hybrid_mlp
from temport.graphs.lightning import build_lightning, build_lightning_attention
from temport.graphs.masks import causal_mask, window_mask
from temport.graphs.mega import build_mega, build_mega_block
from temport.graphs.normalization import qk_layer_norm
from temport.graphs.position import add_positional_encoding
from temport.graphs.registry import ARCHITECTURES
from temport.graphs.rope import apply_rope, rope_tables
from temport.graphs.sliding_window import (
    build_attention,
    build_sliding_window,
    output_size,
    recommended_defaults,
)

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "InputSpec",
    "LengthTable",
    "MultiHeadAttentionLayer",
    "add_positional_encoding",
    "apply_rope",
    "bake",
    "build_attention",
    "build_hybrid",
    "build_hybrid_mlp",
    "build_lightning",
    "build_lightning_attention",
    "build_mega",
    "build_mega_block",
    "build_sliding_window",
    "causal_mask",
    "chunked_attention",
    "memory_efficient_attention",
    "multi_head_attention",
    "output_size",
    "qk_layer_norm",
    "recommended_defaults",
    "rope_tables",
    "scaled_dot_product_attention",
    "self_attention",
    "sliding_window_attention",
    "window_mask",
]
