"""A policy of one LSTM that was shown how a hand moves: position of the hand and the task -> where it goes next.

The demonstrations are the GunPoint recordings of the UCR archive, which ship inside the `aeon` wheel: where a hand is
over 150 frames, while it draws a gun or only points; 50 recordings to train on and 150 to test. The action of a frame
is the step that the hand takes until the next one. Normalising and the unit of the action are part of the model.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

FRAMES, HIDDEN, EPOCHS, RATE = 149, 32, 80, 1e-2
SHAPES = ("hand=batch,seq,1", "task=batch,2")


class HandPolicy(nn.Module):
    """`hand [batch, seq, 1]`, `task [batch, 2]` (one of them 1) -> the next step of the hand `[batch, seq, 1]`."""

    center: Tensor
    spread: Tensor
    step: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("center", "spread", "step"):
            self.register_buffer(name, torch.ones(1))
        self.task = nn.Linear(2, HIDDEN)
        self.embed = nn.Linear(1, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, hand: Tensor, task: Tensor) -> Tensor:
        normal = (hand - self.center) / self.spread
        hidden, _ = self.lstm(torch.tanh(self.embed(normal) + self.task(task).unsqueeze(1)))
        action: Tensor = self.step * self.head(hidden)
        return action


def make() -> nn.Module:
    return HandPolicy()


def demonstrations(split: str) -> tuple[Tensor, Tensor, Tensor]:
    """Positions `[n, 149, 1]`, tasks `[n, 2]` and the steps that were taken `[n, 149, 1]`."""
    from aeon.datasets import load_gunpoint

    x, y = load_gunpoint(split=split)
    hand = torch.from_numpy(x.transpose(0, 2, 1).astype(np.float32))
    task = nn.functional.one_hot(torch.tensor([int(label) - 1 for label in y]), 2).float()
    return hand[:, :-1], task, hand.diff(dim=1)


def train(policy: nn.Module) -> None:
    """Fit to the steps of the demonstrations."""
    hand, task, steps = demonstrations("train")
    for name, value in (("center", hand.mean()), ("spread", hand.std()), ("step", steps.std())):
        policy.get_buffer(name).fill_(value)
    optimizer = torch.optim.Adam(policy.parameters(), lr=RATE)
    policy.train()
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        ((policy(hand, task) - steps) / steps.std()).square().mean().backward()
        optimizer.step()
    policy.eval()


def quality(actions: np.ndarray) -> str:
    """How far the actions over the test recordings `[150, 149, 1]` are from the steps that were taken."""
    _, _, steps = demonstrations("test")
    error = float(np.abs(actions - steps.numpy()).mean())
    still = float(steps.abs().mean())
    return f"{error:.4f} off the step that was taken, where a hand at rest is {still:.4f} off"


def recordings() -> dict[str, np.ndarray]:
    """The test recordings by input name."""
    hand, task, _ = demonstrations("test")
    return {"hand": hand.numpy(), "task": task.numpy()}
