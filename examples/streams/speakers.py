"""A classifier of causal convolutions: who speaks, at every frame of what was heard so far.

The recordings are JapaneseVowels of the UEA archive, which ship inside the `aeon` wheel: nine men say two vowels, 12
coefficients of their voice per frame, 7 to 29 frames; 270 recordings to train on and 370 to test.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS, SPEAKERS, WIDTH, KERNEL, DILATIONS = 12, 9, 32, 3, (1, 2, 4)
EPOCHS, BATCH, RATE = 20, 30, 4e-3
SHAPES = (f"voice=batch,seq,{CHANNELS}",)


class SpeakerNet(nn.Module):
    """`voice [batch, seq, 12]` -> scores `[batch, seq, 9]` of the speakers: the mean so far of what 15 frames say."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(CHANNELS))
        self.register_buffer("deviation", torch.ones(CHANNELS))
        self.embed = nn.Linear(CHANNELS, WIDTH)
        self.convs = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, KERNEL, dilation=d) for d in DILATIONS)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, SPEAKERS)

    def forward(self, voice: Tensor) -> Tensor:
        x = self.embed((voice - self.mean) / self.deviation).transpose(1, 2)
        for conv, dilation in zip(self.convs, DILATIONS, strict=True):
            x = x + F.gelu(conv(F.pad(x, ((KERNEL - 1) * dilation, 0))))
        scores: Tensor = self.head(self.norm(x.transpose(1, 2)))
        heard = torch.arange(1, scores.shape[1] + 1, device=scores.device).to(scores)
        return scores.cumsum(1) / heard[:, None]


def make() -> nn.Module:
    return SpeakerNet()


def voices(split: str) -> tuple[Tensor, Tensor, Tensor]:
    """Frames `[n, 29, 12]` with zeros behind the last, how many frames each has `[n]`, and its speaker `[n]`."""
    from aeon.datasets import load_japanese_vowels

    x, y = load_japanese_vowels(split=split)
    rows = [torch.from_numpy(recording.T.astype(np.float32)) for recording in x]
    padded = nn.utils.rnn.pad_sequence([*rows, torch.zeros(29, CHANNELS)], batch_first=True)[:-1]
    return padded, torch.tensor([len(r) for r in rows]), torch.tensor([int(label) - 1 for label in y])


def train(net: nn.Module) -> None:
    """Fit the scores at the last frame of every recording."""
    x, lengths, speakers = voices("train")
    heard = torch.cat([row[:n] for row, n in zip(x, lengths, strict=True)])
    net.get_buffer("mean").copy_(heard.mean(0))
    net.get_buffer("deviation").copy_(heard.std(0))
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.1)
    net.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            last = net(x[rows])[torch.arange(len(rows)), lengths[rows] - 1]
            optimizer.zero_grad()
            nn.functional.cross_entropy(last, speakers[rows]).backward()
            optimizer.step()
    net.eval()


def quality(scores: np.ndarray) -> str:
    """Of scores over the test recordings `[370, 29, 9]`: how many are right at the fifth frame, and at their last."""
    _, lengths, speakers = voices("test")
    every = np.arange(len(speakers))
    right = [scores[every, at].argmax(-1) == speakers.numpy() for at in (4, lengths.numpy() - 1)]
    return f"{right[0].mean():.3f} of the speakers known at frame 5, {right[1].mean():.3f} at the last"


def recordings() -> dict[str, np.ndarray]:
    """The test recordings by input name."""
    return {"voice": voices("test")[0].numpy()}
