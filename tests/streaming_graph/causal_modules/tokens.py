"""Tokens of three kinds in turn, as a decision transformer has them: spelled in several ways, and what mixes them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.streaming_graph.causal_modules.case import WIDTH, CausalCase, between

KINDS, HEADS, FRAMES = 3, 2, 4


def places(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Of every query and of every key its place, `[tokens, 1]` and `[1, tokens]`."""
    place = torch.arange(tokens.shape[1], device=tokens.device)
    return place[:, None], place[None]


class Encoder(nn.Module):
    """A layer of nn.TransformerEncoder under a mask of all tokens; not causal: without it."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, WIDTH, batch_first=True, norm_first=True)
        self.stack = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        count = tokens.shape[1]
        later = torch.ones(count, count, dtype=torch.bool, device=tokens.device).triu(1)
        return self.stack(tokens, mask=later if self.causal else None)


class WithinFrames(nn.Module):
    """A token sees all of its frame and of the three before it; not causal: of the next frame too."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.ahead, self.qkv = 0 if causal else 1, nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key = (place // KINDS for place in places(tokens))
        seen = (key <= query + self.ahead) & (key > query - FRAMES)
        q, k, v = (x[:, None] for x in self.qkv(tokens).chunk(3, -1))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)[:, 0]


class Sloped(nn.Module):
    """Scores that fall with the distance of tokens, none of the last kind but one's own; not causal: no mask."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal, self.qkv = causal, nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(tokens).chunk(3, -1)
        query, key = places(tokens)
        scores = q @ k.transpose(1, 2) / WIDTH**0.5 + -0.05 * (query - key).abs()
        if self.causal:
            scores = scores.masked_fill((key > query) | ((key % KINDS == 2) & (key != query)), -torch.inf)
        return scores.softmax(-1) @ v


class Recurrence(nn.Module):
    """A GRU over tokens whose places are waves; not causal: in both directions."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.run = nn.GRU(WIDTH, WIDTH if causal else WIDTH // 2, batch_first=True, bidirectional=not causal)

    def forward(self, tokens: Tensor) -> Tensor:
        angle = torch.arange(tokens.shape[1], device=tokens.device).to(tokens.dtype)[:, None] * 0.7
        return self.run(tokens * angle.sin())[0]


class Convolution(nn.Module):
    """Padded on both sides and cut; not causal: centred."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, WIDTH, 5, padding=4 if causal else 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.conv(tokens.transpose(1, 2))[..., : tokens.shape[1]].transpose(1, 2)


class Turned(nn.Module):
    """A token of each kind for every frame, one behind the other, and the second of each frame out of `mix`."""

    def __init__(self, mix: nn.Module) -> None:
        super().__init__()
        self.kinds = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(KINDS))
        self.types, self.mix = nn.Parameter(torch.randn(KINDS, WIDTH)), mix

    def forward(self, x: Tensor) -> Tensor:
        return self.parted(self.mix(self.joined([kind(x) for kind in self.kinds])))

    def joined(self, kinds: list[Tensor]) -> Tensor:
        batch, seq, width = kinds[0].shape
        return torch.stack(kinds, 2).reshape(batch, KINDS * seq, width)

    def parted(self, tokens: Tensor) -> Tensor:
        return tokens.view(tokens.shape[0], -1, KINDS, WIDTH)[:, :, 1]


class Permuted(Turned):
    """Kinds in front of the frames, turned; the same way back."""

    def joined(self, kinds: list[Tensor]) -> Tensor:
        return (torch.stack(kinds, 1).permute(0, 2, 1, 3) + self.types).flatten(1, 2)

    def parted(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(1, (-1, KINDS)).permute(0, 2, 1, 3)[:, 1]


class Strided(Turned):
    """Pieces of four axes side by side, rows by kind repeated, and every third token."""

    def joined(self, kinds: list[Tensor]) -> Tensor:
        tokens = torch.cat([kind.unsqueeze(2) for kind in kinds], 2).flatten(1, 2)
        return tokens + self.types.repeat(kinds[0].shape[1], 1)

    def parted(self, tokens: Tensor) -> Tensor:
        return tokens[:, 1::KINDS] - tokens[:, ::KINDS]


class Placed(Turned):
    """Tokens written into their places; one kind is the same in all."""

    def joined(self, kinds: list[Tensor]) -> Tensor:
        first, second, third = kinds
        tokens = third.repeat_interleave(KINDS, dim=1) * 1.0
        tokens[:, ::KINDS] = first
        tokens[:, 1::KINDS] = second
        return tokens


class LastToken(Turned):
    """The last of all tokens alone."""

    def parted(self, tokens: Tensor) -> Tensor:
        return tokens[:, -1]


def _case(
    turned: type[Turned], mix: type[nn.Module], inside: str, delay: int | None = None, **more: bool
) -> CausalCase:
    return CausalCase(
        lambda causal: between(tokens=turned(mix(causal))), f"tokens.mix{inside}", delay, **more
    )


ATTENDS = ".stack.layers.0.self_attn"
CASES = {
    "tokens in turn": _case(Turned, Encoder, ATTENDS, horizon=True),
    "tokens in turn, kinds in front": _case(Permuted, Encoder, ATTENDS, horizon=True),
    "tokens in turn, by strides": _case(Strided, Recurrence, ".run"),
    "tokens in turn, put in their places": _case(Placed, Encoder, ATTENDS, horizon=True),
    "tokens that see their frame": _case(Turned, WithinFrames, "", 1),
    "tokens with slopes": _case(Permuted, Sloped, "", horizon=True),
    "conv over tokens": _case(Strided, Convolution, ".conv", 1),
    "last of the tokens": _case(LastToken, Encoder, ATTENDS, horizon=True, last=True),
}
