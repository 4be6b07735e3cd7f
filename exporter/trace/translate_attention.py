"""torch's scaled_dot_product_attention, whole, as the node that the passes know."""

from __future__ import annotations

from typing import Any

from onnxscript.values import Op, Opset

from temport.exporter.graph.traced_attention import DOMAIN, NAME, SCHEMA, VERSION

_OPERATOR = Op(Opset(DOMAIN, VERSION), NAME, SCHEMA)


def translate_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """query `[..., T, D]`, key `[..., S, D]`, value `[..., S, Dv]` -> `[..., T, Dv]`.

    Dropout is for training; a module that has it in eval mode gives two answers to one input, which is refused earlier.
    """
    given = {} if scale is None else {"scale": float(scale)}
    return _OPERATOR(
        query, key, value, attn_mask, is_causal=int(is_causal), enable_gqa=int(enable_gqa), **given
    )
