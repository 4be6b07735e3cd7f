"""OnlineSoftmaxAttention in torch: tiles of queries by tiles of keys, memory O(T + S), gradients recomputed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from temport.custom_ops.layout import Layout
from temport.custom_ops.mask import MaskRule
from temport.custom_ops.online_softmax_attention.attributes import OP_NAME, OnlineSoftmaxAttributes
from temport.custom_ops.torch_heads import accumulation_dtype, by_head, torch_layout
from temport.custom_ops.torch_registration import register

QUERY_TILE = 128
KEY_TILE = 512


def online_softmax_attention(
    q: torch.Tensor,
    k: torch.Tensor | None = None,
    v: torch.Tensor | None = None,
    key_mask: torch.Tensor | None = None,
    *,
    num_heads: int,
    kv_num_heads: int | None = None,
    causal: bool = False,
    window: int = 0,
    query_offset: int = -1,
    scale: float | None = None,
) -> torch.Tensor:
    """softmax(scale * Q K^T over the allowed keys) V (Rabe and Staats, arXiv 2112.05682).

    q          `[B, T, H*D]`, or `[B, T, (H + 2*Hkv)*D]` packed queries, keys, values without k and v
    k, v       `[B, S, Hkv*D]`, `[B, S, Hkv*Dv]`
    key_mask   `[B, S]` bool, True = attend
    scale      default 1/sqrt(D); the other attributes are those of `OnlineSoftmaxAttributes`
    returns    `[B, T, H*Dv]` of q's dtype; sums are float32 (float64 for float64);
               a row with no allowed key is 0

    Differentiable once in q, k, v. Raises ValueError for attributes, shapes or dtypes that do not fit.
    """
    a = OnlineSoftmaxAttributes(num_heads, kv_num_heads, causal, window, query_offset, scale)
    layout = torch_layout(OP_NAME, q, k, v, num_heads=num_heads, kv_num_heads=a.kv_heads, key_mask=key_mask)
    return torch.ops.temport.online_softmax_attention(
        q, k, v, key_mask, num_heads, a.kv_heads, causal, window, query_offset, a.scale_for(layout.head_dim)
    )


class _Call:
    """One call, by head: keys and values in the accumulation dtype, and the tiles that the rule leaves."""

    def __init__(
        self,
        q: torch.Tensor,
        k: torch.Tensor | None,
        v: torch.Tensor | None,
        key_mask: torch.Tensor | None,
        a: OnlineSoftmaxAttributes,
    ) -> None:
        self.layout: Layout = _layout(q, k, v, key_mask, a)
        self.rule: MaskRule = a.rule
        self.scale = a.scale_for(self.layout.head_dim)
        self.kv_heads, self.groups = a.kv_heads, a.num_heads // a.kv_heads
        self.dtype = accumulation_dtype(q.dtype)
        self.key_mask = key_mask
        queries, keys, values = by_head(q, k, v, self.layout, a.num_heads, a.kv_heads)
        self.queries = queries.unflatten(1, (self.kv_heads, self.groups))  # [B, Hkv, G, T, D]
        self.keys = keys.to(self.dtype).contiguous()  # [B, Hkv, S, D]
        self.values = values.to(self.dtype).contiguous()  # [B, Hkv, S, Dv]

    def query_tiles(self) -> Iterator[tuple[int, int, int, int]]:
        """Query rows [t_lo, t_hi) with the hull [k_lo, k_hi) of the keys that they may see."""
        T, S = self.layout.query_length, self.layout.key_length
        for t_lo in range(0, T, QUERY_TILE):
            t_hi = min(t_lo + QUERY_TILE, T)
            yield t_lo, t_hi, *self.rule.key_range(t_lo, t_hi, T, S)

    def rows(self, x: torch.Tensor, t_lo: int, t_hi: int) -> torch.Tensor:
        """Rows of `[B, Hkv, G, T, n]` as `[B, Hkv, G*t, n]`: the heads of a group share their keys."""
        return x[..., t_lo:t_hi, :].to(self.dtype).flatten(2, 3)

    def scores(self, rows: torch.Tensor, k_lo: int, k_hi: int) -> torch.Tensor:
        """scale * Q K^T as `[B, Hkv, G, t, s]`."""
        return (rows @ self.keys[:, :, k_lo:k_hi].mT).mul_(self.scale).unflatten(2, (self.groups, -1))

    def excluded(self, t_lo: int, t_hi: int, k_lo: int, k_hi: int) -> torch.Tensor | None:
        """What the tile must not attend, broadcastable to `[B, Hkv, G, t, s]`; None when nothing."""
        T, S = self.layout.query_length, self.layout.key_length
        excluded = None
        if not self.rule.admits_all(t_lo, t_hi, k_lo, k_hi, T, S):
            device = self.keys.device
            positions = torch.arange(t_lo, t_hi, device=device)[:, None] + self.rule.offset(T, S)
            excluded = ~self.rule.allows(positions, torch.arange(k_lo, k_hi, device=device)[None, :])
        if self.key_mask is not None:
            masked = ~self.key_mask[:, None, None, None, k_lo:k_hi]
            excluded = masked if excluded is None else masked | excluded
        return excluded


def _forward(
    q: torch.Tensor,
    k: torch.Tensor | None,
    v: torch.Tensor | None,
    key_mask: torch.Tensor | None,
    *attrs: Any,
) -> torch.Tensor:
    a = OnlineSoftmaxAttributes(*attrs)
    call = _Call(q, k, v, key_mask, a)
    B, T, value_dim = call.layout.batch, call.layout.query_length, call.layout.value_dim
    lowest = torch.finfo(call.dtype).min
    output = q.new_empty(B, T, call.kv_heads, call.groups, value_dim)
    for t_lo, t_hi, k_lo, k_hi in call.query_tiles():
        rows = call.rows(call.queries, t_lo, t_hi)
        heads_rows = (B, call.kv_heads, call.groups, t_hi - t_lo)
        highest = rows.new_full((*heads_rows, 1), lowest)
        total = rows.new_zeros((*heads_rows, 1))
        weighted = rows.new_zeros((*heads_rows, value_dim))
        for s_lo in range(k_lo, k_hi, KEY_TILE):
            s_hi = min(s_lo + KEY_TILE, k_hi)
            weights = call.scores(rows, s_lo, s_hi)
            excluded = call.excluded(t_lo, t_hi, s_lo, s_hi)
            if excluded is not None:
                weights.masked_fill_(excluded, lowest)
            new_highest = torch.maximum(highest, weights.amax(-1, keepdim=True))
            weights.sub_(new_highest).exp_()
            if excluded is not None:  # a row masked so far has highest = lowest, where exp gives 1, not 0
                weights.masked_fill_(excluded, 0)
            correction = torch.exp(highest - new_highest)
            total = total * correction + weights.sum(-1, keepdim=True)
            product = weights.flatten(2, 3) @ call.values[:, :, s_lo:s_hi]
            weighted = weighted * correction + product.unflatten(2, (call.groups, -1))
            highest = new_highest
        total.masked_fill_(total == 0, 1)  # no allowed key: 0/1
        output[:, t_lo:t_hi] = (weighted / total).permute(0, 3, 1, 2, 4)
    return output.flatten(2)


def _backward(
    grad: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor | None,
    v: torch.Tensor | None,
    key_mask: torch.Tensor | None,
    *attrs: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of q, k, v, one strip of query rows by its hull of keys at a time (O(S) memory).

    With P the weights and dP = dY V^T: dV = P^T dY, dS = P * (dP - rowsum(P * dP)), dQ = scale dS K,
    dK = scale dS^T Q. For packed input the first result carries all three and the others are empty.
    """
    a = OnlineSoftmaxAttributes(*attrs)
    call = _Call(q, k, v, key_mask, a)
    heads, size = (call.kv_heads, call.groups), call.layout
    grad_by_head = grad.view(size.batch, size.query_length, *heads, size.value_dim).permute(0, 2, 3, 1, 4)
    grad_q = call.queries.new_zeros(call.queries.shape)
    grad_k, grad_v = torch.zeros_like(call.keys), torch.zeros_like(call.values)
    for t_lo, t_hi, k_lo, k_hi in call.query_tiles():
        if k_lo == k_hi:
            continue
        rows, grad_rows = call.rows(call.queries, t_lo, t_hi), call.rows(grad_by_head, t_lo, t_hi)
        scores = call.scores(rows, k_lo, k_hi)
        excluded = call.excluded(t_lo, t_hi, k_lo, k_hi)
        if excluded is not None:
            scores.masked_fill_(excluded, torch.finfo(call.dtype).min)
        weights = torch.softmax(scores, -1)
        if excluded is not None:
            weights = weights.masked_fill_(excluded, 0)
        weights = weights.flatten(2, 3)
        grad_v[:, :, k_lo:k_hi] += weights.mT @ grad_rows
        grad_weights = grad_rows @ call.values[:, :, k_lo:k_hi].mT
        mean = (weights * grad_weights).sum(-1, keepdim=True)
        grad_scores = grad_weights.sub_(mean).mul_(weights).mul_(call.scale)
        grad_q[..., t_lo:t_hi, :] = (grad_scores @ call.keys[:, :, k_lo:k_hi]).unflatten(2, (call.groups, -1))
        grad_k[:, :, k_lo:k_hi] += grad_scores.mT @ rows

    q_, k_, v_ = (x.transpose(1, 2).flatten(2).to(q.dtype) for x in (grad_q.flatten(1, 2), grad_k, grad_v))
    if size.packed:
        return torch.cat((q_, k_, v_), dim=2), q.new_empty(0), q.new_empty(0)
    return q_, k_, v_


def _layout(
    q: torch.Tensor,
    k: torch.Tensor | None,
    v: torch.Tensor | None,
    key_mask: torch.Tensor | None,
    a: OnlineSoftmaxAttributes,
) -> Layout:
    heads, kv_heads = a.num_heads, a.kv_heads
    return torch_layout(OP_NAME, q, k, v, num_heads=heads, kv_num_heads=kv_heads, key_mask=key_mask)


def _shape(
    q: torch.Tensor,
    k: torch.Tensor | None,
    v: torch.Tensor | None,
    key_mask: torch.Tensor | None,
    *attributes: Any,
) -> tuple[int, ...]:
    a = OnlineSoftmaxAttributes(*attributes)
    layout = _layout(q, k, v, key_mask, a)
    return layout.batch, layout.query_length, a.num_heads * layout.value_dim


register(
    OP_NAME,
    name="online_softmax_attention",
    tensors="Tensor q, Tensor? k, Tensor? v, Tensor? key_mask",
    attributes="int num_heads, int kv_num_heads, bool causal, int window, int query_offset, float scale",
    forward=_forward,
    backward=_backward,
    shape=_shape,
)
