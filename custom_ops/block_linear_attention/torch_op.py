"""BlockLinearAttention in torch: all blocks at once, O(T * (block_size + D)) memory, gradients recomputed."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from temport.custom_ops.block_linear_attention.attributes import OP_NAME, BlockLinearAttributes
from temport.custom_ops.layout import Layout
from temport.custom_ops.torch_heads import accumulation_dtype, by_head, torch_layout
from temport.custom_ops.torch_registration import register


def block_linear_attention(
    q: torch.Tensor,
    k: torch.Tensor | None = None,
    v: torch.Tensor | None = None,
    *,
    num_heads: int,
    block_size: int,
    scale: float | None = None,
    feature_map: str = "identity",
    normalizer: str = "key_sum",
    eps: float = 1e-8,
) -> torch.Tensor:
    """Causal softmax attention inside each block plus phi(q) S_b / (phi(q).z_b + eps) over earlier blocks.

    q         `[B, T, H*D]`, or `[B, T, 3*H*D]` with packed queries, keys, values when k and v are None
    k, v      `[B, T, H*D]`, `[B, T, H*Dv]`
    scale     default 1/sqrt(D), softmax part only; the other attributes are those of `BlockLinearAttributes`
    returns   `[B, T, H*Dv]` of q's dtype; sums are float32 (float64 for float64)

    With `identity` and `key_sum` the denominator phi(q).z_b can pass through 0: outputs are then arbitrarily
    large and ill-conditioned, so two correct computations may differ in every digit there. `elu1` keeps it
    positive and is the sound choice for new models. This is not the decay-weighted softmax-free kernel of the
    Lightning Attention-2 paper (arXiv 2401.04658).

    Differentiable once in q, k, v. Raises ValueError for attributes, shapes or dtypes that do not fit.
    """
    a = BlockLinearAttributes(num_heads, block_size, scale, feature_map, normalizer, eps)
    head_dim = _layout(q, k, v, a).head_dim
    return torch.ops.temport.block_linear_attention(
        q, k, v, num_heads, block_size, a.scale_for(head_dim), feature_map, normalizer, eps
    )


def phi(x: torch.Tensor, feature_map: str) -> torch.Tensor:
    """The feature map of the linear part; elu(x) + 1 so that small values are not rounded away."""
    return x if feature_map == "identity" else x.clamp(min=0) + x.clamp(max=0).exp()


class _Call:
    """One call cut into blocks `[B, H, N, C, dim]`, the last one filled up with zero rows."""

    def __init__(
        self, q: torch.Tensor, k: torch.Tensor | None, v: torch.Tensor | None, a: BlockLinearAttributes
    ) -> None:
        self.layout: Layout = _layout(q, k, v, a)
        self.a, self.scale = a, a.scale_for(self.layout.head_dim)
        self.length = self.layout.query_length
        self.block = min(a.block_size, max(self.length, 1))
        self.filling = -self.length % self.block
        self.dtype = accumulation_dtype(q.dtype)
        heads = by_head(q, k, v, self.layout, a.num_heads, a.num_heads)
        self.q, self.k, self.v = (self.cut(x) for x in heads)
        self.phi_q, self.phi_k = (phi(x, a.feature_map) for x in (self.q, self.k))

    def cut(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, H, T, dim]` as blocks in the accumulation dtype."""
        return F.pad(x.to(self.dtype), (0, 0, 0, self.filling)).unflatten(2, (-1, self.block))

    def joined(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Blocks back to `[B, T, H*dim]`."""
        return x.flatten(2, 3)[:, :, : self.length].transpose(1, 2).flatten(2).to(dtype)

    def weights(self) -> torch.Tensor:
        """Causal softmax weights inside each block, `[B, H, N, C, C]`."""
        causal = torch.ones(self.block, self.block, dtype=torch.bool, device=self.q.device).tril()
        scores = (self.q @ self.k.mT).mul_(self.scale)
        return scores.masked_fill_(~causal, torch.finfo(self.dtype).min).softmax(-1)

    def states(self) -> tuple[torch.Tensor, torch.Tensor]:
        """S_b `[B, H, N-1, D, Dv]` and z_b `[B, H, N-1, D, 1]` of blocks 1.. (block 0 has no linear part)."""
        state = (self.phi_k.mT @ self.v)[:, :, :-1].cumsum(2)
        return state, self.phi_k.sum(3)[:, :, :-1].cumsum(2).unsqueeze(-1)

    def denominator(self, key_sum: torch.Tensor) -> torch.Tensor:
        """phi(q).z_b + eps of blocks 1.., `[B, H, N-1, C, 1]`."""
        return self.phi_q[:, :, 1:] @ key_sum + self.a.eps

    def phi_gradient(self, grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Gradient through the feature map; the derivative of elu1 is 1 above 0 and exp(x) below."""
        return grad if self.a.feature_map == "identity" else grad * x.clamp(max=0).exp()


def _forward(
    q: torch.Tensor, k: torch.Tensor | None, v: torch.Tensor | None, *attributes: Any
) -> torch.Tensor:
    call = _Call(q, k, v, BlockLinearAttributes(*attributes))
    output = call.weights() @ call.v
    state, key_sum = call.states()
    inter = call.phi_q[:, :, 1:] @ state
    if call.a.normalizer == "key_sum":
        inter /= call.denominator(key_sum)
    output[:, :, 1:] += inter
    return call.joined(output, q.dtype)


def _backward(
    grad: torch.Tensor, q: torch.Tensor, k: torch.Tensor | None, v: torch.Tensor | None, *attributes: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of q, k, v; for packed input the first result carries all three and the others are empty.

    Softmax part: dV = P^T dY, dS = P * (dP - rowsum(P * dP)). Linear part y = n/d with n = phi(q) S, d =
    phi(q).z + eps: dn = dy/d, dd = -(dy.y)/d; a block's keys receive the sums over all later blocks.
    """
    call = _Call(q, k, v, BlockLinearAttributes(*attributes))
    size = call.layout
    grad = grad.view(size.batch, size.query_length, call.a.num_heads, size.value_dim).transpose(1, 2)
    grad = call.cut(grad)

    weights = call.weights()
    grad_weights = grad @ call.v.mT
    mean = (weights * grad_weights).sum(-1, keepdim=True)
    grad_scores = grad_weights.sub_(mean).mul_(weights).mul_(call.scale)
    grad_q, grad_k, grad_v = grad_scores @ call.k, grad_scores.mT @ call.q, weights.mT @ grad

    state, key_sum = call.states()
    phi_q, grad_numerator = call.phi_q[:, :, 1:], grad[:, :, 1:]
    if call.a.normalizer == "key_sum":
        denominator = call.denominator(key_sum)
        inter = (phi_q @ state) / denominator
        grad_denominator = -(grad_numerator * inter).sum(-1, keepdim=True) / denominator
        grad_numerator = grad_numerator / denominator
        grad_phi_q = grad_numerator @ state.mT + grad_denominator @ key_sum.mT
        grad_key_sum = _sum_from(phi_q.mT @ grad_denominator)
    else:
        grad_phi_q = grad_numerator @ state.mT
        grad_key_sum = torch.zeros_like(key_sum)
    grad_state = _sum_from(phi_q.mT @ grad_numerator)
    grad_phi_k = call.v[:, :, :-1] @ grad_state.mT + grad_key_sum.mT
    grad_q[:, :, 1:] += call.phi_gradient(grad_phi_q, call.q[:, :, 1:])
    grad_k[:, :, :-1] += call.phi_gradient(grad_phi_k, call.k[:, :, :-1])
    grad_v[:, :, :-1] += call.phi_k[:, :, :-1] @ grad_state

    q_, k_, v_ = (call.joined(x, q.dtype) for x in (grad_q, grad_k, grad_v))
    if size.packed:
        return torch.cat((q_, k_, v_), dim=2), q.new_empty(0), q.new_empty(0)
    return q_, k_, v_


def _sum_from(x: torch.Tensor) -> torch.Tensor:
    """Entry c is the sum over blocks c.. (counting from block 1): what block c's keys contributed to."""
    return x.flip(2).cumsum(2).flip(2)


def _layout(
    q: torch.Tensor, k: torch.Tensor | None, v: torch.Tensor | None, a: BlockLinearAttributes
) -> Layout:
    layout = torch_layout(OP_NAME, q, k, v, num_heads=a.num_heads, kv_num_heads=a.num_heads)
    a.check_lengths(layout)
    return layout


def _shape(
    q: torch.Tensor, k: torch.Tensor | None, v: torch.Tensor | None, *attributes: Any
) -> tuple[int, ...]:
    a = BlockLinearAttributes(*attributes)
    layout = _layout(q, k, v, a)
    return layout.batch, layout.query_length, a.num_heads * layout.value_dim


register(
    OP_NAME,
    name="block_linear_attention",
    tensors="Tensor q, Tensor? k, Tensor? v",
    attributes="int num_heads, int block_size, float scale, str feature_map, str normalizer, float eps",
    forward=_forward,
    backward=_backward,
    shape=_shape,
)
