"""nn.MultiheadAttention, traced on `[batch, seq, width]`.

torch's own forward puts the sequence first, joins batch and heads, and parts them again: eight moves around every
attention, two of them at run time. Here the same numbers come from the layers in the order that our op takes them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

_theirs = nn.MultiheadAttention.forward


@contextlib.contextmanager
def batch_first_attention() -> Iterator[None]:
    """While it lasts, nn.MultiheadAttention computes so wherever it can."""
    # replaced on the class: models hold layers of torch's own, whose forward no argument changes
    nn.MultiheadAttention.forward = _forward  # type: ignore[method-assign]  # for the trace alone
    try:
        yield
    finally:
        nn.MultiheadAttention.forward = _theirs  # type: ignore[method-assign]  # as it was


def _forward(
    self: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """As nn.MultiheadAttention.forward, where inputs are batched and no key is added."""
    if query.dim() != 3 or self.bias_k is not None or self.add_zero_attn or (is_causal and attn_mask is None):
        return _theirs(
            self,
            query,
            key,
            value,
            key_padding_mask,
            need_weights,
            attn_mask,
            average_attn_weights,
            is_causal,
        )
    q, k, v = (_by_head(x, self.num_heads) for x in _projected(self, query, key, value))
    if is_causal and key_padding_mask is None and not need_weights:
        mixed, weights = F.scaled_dot_product_attention(q, k, v, is_causal=True), None
    else:
        mask = _mask(q, attn_mask, key_padding_mask)
        if need_weights:
            scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
            weights = (scores if mask is None else scores + mask).softmax(-1)
            mixed = weights @ v
        else:
            mixed, weights = F.scaled_dot_product_attention(q, k, v, mask), None
    mixed = self.out_proj(mixed.transpose(1, 2).flatten(2))
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    return mixed if self.batch_first else mixed.transpose(0, 1), weights


def _projected(layer: nn.MultiheadAttention, *given: Tensor) -> Any:
    """Queries, keys and values `[batch, length, width]`; one product for those that come from one tensor."""
    query, key, value = given
    rows = list(given) if layer.batch_first else [x.transpose(0, 1) for x in given]
    bias = layer.in_proj_bias
    if not layer._qkv_same_embed_dim:
        weights = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        return map(F.linear, rows, weights, biases)
    if query is key and key is value:
        return F.linear(rows[0], layer.in_proj_weight, bias).chunk(3, -1)
    return map(F.linear, rows, layer.in_proj_weight.chunk(3), (None,) * 3 if bias is None else bias.chunk(3))


def _by_head(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _mask(q: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None) -> Tensor | None:
    """What is added to scores `[batch, heads, T, S]`: both masks as torch has them, a boolean True as -inf."""
    found: list[Tensor] = []
    for mask, padding in ((attn_mask, False), (key_padding_mask, True)):
        if mask is None:
            continue
        added = F._canonical_mask(mask, "mask", None, "", q.dtype, check_other=False)
        assert added is not None, "it was given one"
        if padding:
            added = added[:, None, None, :]
        elif added.dim() == 3:
            added = added.unflatten(0, (q.shape[0], q.shape[1]))
        found.append(added)
    if len(found) == 2:
        return found[0] + found[1]
    return found[0] if found else None
