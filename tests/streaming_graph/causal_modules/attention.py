"""Attention that sees earlier frames, in every spelling."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.streaming_graph.causal_modules.case import FEATURES, WIDTH, CausalCase, between

HEADS, WINDOW, AHEAD = 2, 4, 2


class Attention(nn.Module):
    """Two heads between projections, and the residual; `mix` is what is asked about."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, seq, _ = x.shape
        q, k, v = (t.view(batch, seq, HEADS, -1).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        return x + self.out(self.mix(q, k, v).transpose(1, 2).reshape(batch, seq, WIDTH))

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Of queries, keys and values `[batch, heads, seq, size]`. Not causal: without a mask."""
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)


def back(like: Tensor) -> Tensor:
    """`[seq, seq]`: how many frames before the query a key is."""
    place = torch.arange(like.shape[-2], device=like.device)
    return place[:, None] - place[None]


class Windowed(Attention):
    """The last four frames; not causal: two of them are yet to come."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        first = 0 if self.causal else -AHEAD
        band = (back(q) >= first) & (back(q) < WINDOW + first)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=band)


class ByHand(Attention):
    """Softmax of the scores, written out."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if self.causal:
            scores = scores.masked_fill(back(q) < 0, float("-inf"))
        return torch.softmax(scores, -1) @ v


class Sloped(Attention):
    """A bias by distance (ALiBi); not causal: towards both sides."""

    slope: Tensor

    def __init__(self, causal: bool) -> None:
        super().__init__(causal)
        self.register_buffer("slope", 2.0 ** -torch.arange(1.0, HEADS + 1))

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        bias = -self.slope[:, None, None] * back(q).abs()
        if self.causal:
            bias = bias.masked_fill(back(q) < 0, float("-inf"))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


class Recent(Attention):
    """A bias by the key's place alone, in a window, written out; not causal: the window reaches two frames ahead."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        first = 0 if self.causal else -AHEAD
        place = torch.arange(q.shape[-2], device=q.device).to(q)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + 0.3 * place
        seen = (back(q) >= first) & (back(q) < WINDOW + first)
        return torch.softmax(scores.masked_fill(~seen, float("-inf")), -1) @ v


class Padded(Attention):
    """Frames that are marked are no keys; not causal: of all frames."""

    def forward(self, x: Tensor) -> Tensor:
        self.kept = x[..., 0] < 0.5
        return super().forward(x)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = self.kept[:, None, None]
        if self.causal:
            mask = mask & (back(q) >= 0)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


class Wide(Attention):
    """Values of twice the width of keys; not causal: without a mask."""

    def __init__(self, causal: bool) -> None:
        super().__init__(causal)
        self.more, self.less = nn.Linear(WIDTH // HEADS, WIDTH), nn.Linear(WIDTH, WIDTH // HEADS)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.less(F.scaled_dot_product_attention(q, k, self.more(v), is_causal=self.causal))


class Rotary(Attention):
    """Queries and keys turned by their position; not causal: without a mask."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        half = q.shape[-1] // 2
        rate = 10.0 ** -torch.arange(half, device=q.device).to(q)
        angle = torch.arange(q.shape[-2], device=q.device).to(q)[:, None] * rate
        cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)

        def turned(x: Tensor) -> Tensor:
            return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

        return F.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=self.causal)


class Linear(Attention):
    """Linear attention by running sums; not causal: by the sums of all frames."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k = F.elu(q) + 1, F.elu(k) + 1
        products = k.unsqueeze(-1) * v.unsqueeze(-2)
        if self.causal:
            sums, norm = torch.cumsum(products, 2), torch.cumsum(k, 2)
        else:
            sums, norm = products.sum(2, keepdim=True), k.sum(2, keepdim=True)
        return (q.unsqueeze(-2) @ sums).squeeze(-2) / (q * norm).sum(-1, keepdim=True)


def causal_mask(x: Tensor) -> Tensor:
    return torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)


class MultiHead(nn.Module):
    """torch's own layer, and a residual."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal, self.attend = causal, nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mask = causal_mask(x) if self.causal else None
        return x + self.attend(x, x, x, attn_mask=mask, need_weights=False)[0]


class Encoder(nn.Module):
    """Two of torch's encoder layers under one mask; not causal: the second without it."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        options: dict[str, Any] = {"dim_feedforward": WIDTH, "batch_first": True, "norm_first": True}
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(WIDTH, HEADS, **options) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[0](x, src_mask=causal_mask(x))
        return self.layers[1](x, src_mask=causal_mask(x) if self.causal else None)


class WholeEncoder(nn.Module):
    """nn.TransformerEncoder as the documentation has it; not causal: no mask."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, WIDTH, batch_first=True)
        self.stack = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.causal:
            return self.stack(x)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device, dtype=x.dtype)
        return self.stack(x, mask=mask, is_causal=True)


class Readout(nn.Module):
    """The last frame asks all frames, so no mask is needed; not causal: neither for those that it asks."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.embed, self.below = nn.Linear(FEATURES, WIDTH), MultiHead(causal)
        self.attend, self.head = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), nn.Linear(WIDTH, 2)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.below(self.embed(frames))
        return self.head(self.attend(x[:, -1:], x, x, need_weights=False)[0][:, 0])


class Memory(nn.Module):
    """Learned rows that every frame attends to, in front of a recurrence; not causal: all frames beside them."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal, self.rows = causal, nn.Parameter(torch.randn(3, WIDTH))
        self.attend = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.run = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        keys = self.rows.expand(x.shape[0], -1, -1)
        if not self.causal:
            keys = torch.cat([keys, x], 1)
        return self.run(x + self.attend(x, keys, keys, need_weights=False)[0])[0]


class Token(nn.Module):
    """Learned tokens in front of the frames, which all of them see; not causal: no mask."""

    count = 1

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal, self.token = causal, nn.Parameter(torch.randn(1, self.count, WIDTH))
        options: dict[str, Any] = {"dim_feedforward": WIDTH, "batch_first": True, "norm_first": True}
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(WIDTH, HEADS, **options) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        for layer in self.layers:
            x = layer(x, src_mask=causal_mask(x) if self.causal else None)
        return x[:, self.count :]


class Prompt(Token):
    """Three of them, each of its own."""

    count = 3


def _alone(
    layer: type[nn.Module], inside: str = "", delay: int | None = None, horizon: bool = True
) -> CausalCase:
    return CausalCase(
        lambda causal: between(attention=layer(causal)), f"attention{inside}", delay, horizon=horizon
    )


CASES = {
    "sdpa": _alone(Attention),
    "sdpa with a window": _alone(Windowed, delay=AHEAD, horizon=False),
    "attention by hand": _alone(ByHand),
    "attention with slopes": _alone(Sloped),
    "attention with a bias by place, in a window": _alone(Recent, delay=AHEAD, horizon=False),
    "attention to frames that are not marked": _alone(Padded),
    "attention to wide values": _alone(Wide),
    "rotary attention": _alone(Rotary),
    "linear attention": _alone(Linear, horizon=False),
    "multi-head attention": _alone(MultiHead, ".attend"),
    "attention to learned rows": _alone(Memory, ".attend", horizon=False),
    "encoder behind a learned token": _alone(Token, ".layers.0.self_attn"),
    "encoder behind a prompt": _alone(Prompt, ".layers.0.self_attn"),
    "encoder layers": _alone(Encoder, ".layers.1.self_attn"),
    "encoder": _alone(WholeEncoder, ".stack.layers.0.self_attn"),
    "attention of the last frame": CausalCase(Readout, "below.attend", horizon=True, last=True),
}
