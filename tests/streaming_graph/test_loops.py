"""Modules that loop over their frames in Python: equal steps are the step of a stream, others are refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from streaming_graph.module_streams import FRAMES, drawn, given, ran, traced
from torch import Tensor, nn

from temport.exporter.errors import UserError
from temport.exporter.streaming.walk import step_graph
from tests.small_models import thorough_but

WIDTH = 4


class Looped(nn.Module):
    """A convolution in front, a loop in the middle, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.head = nn.Conv1d(3, WIDTH, 3), nn.Linear(WIDTH, 2)
        self.gru, self.lstm = nn.GRUCell(WIDTH, WIDTH), nn.LSTMCell(WIDTH, WIDTH)
        self.other = nn.Linear(WIDTH, WIDTH)

    def forward(self, frames: Tensor) -> Tensor:
        x = nn.functional.pad(frames.transpose(1, 2), (2, 0))
        return self.head(self.loop(self.front(x)[:, :, : frames.shape[1]].transpose(1, 2)))

    def loop(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Cells(Looped):
    """One loop behind the other: rows that are stacked, and the last state of what begins with nothing."""

    def loop(self, x: Tensor) -> Tensor:
        h, rows, state = x.new_zeros(len(x), WIDTH), [], None
        for t in range(x.shape[1]):
            h = self.gru(x[:, t], h)
            rows.append(h)
        for frame in torch.stack(rows, 1).unbind(1):
            state = self.lstm(frame, state)
        assert state is not None
        return state[0]


class Sliced(Looped):
    """By frames that keep their axis, from a start that is not zero; the rows and the last of them."""

    def loop(self, x: Tensor) -> Tensor:
        total, sums = x.new_ones(len(x), 1, WIDTH), []
        for t in range(x.shape[1]):
            total = torch.tanh(self.other(x[:, t : t + 1]) + 0.5 * total)
            sums.append(total)
        return torch.cat(sums, 1)[:, -1] + 2 * total[:, 0]


class Several(Looped):
    """Two sequences go in, two rows and a last state come out."""

    def loop(self, x: Tensor) -> Tensor:
        gate, h, rows, squares = torch.sigmoid(self.other(x)), x.new_zeros(len(x), WIDTH), [], []
        for t in range(x.shape[1]):
            h = gate[:, t] * h + x[:, t]
            rows.append(torch.tanh(h))
            squares.append(h * h)
        return torch.stack(rows, 1) + torch.stack(squares, 1)


LOOPS: dict[str, Callable[[], nn.Module]] = {"cells": Cells, "slices": Sliced, "several rows": Several}


@pytest.mark.parametrize("name", thorough_but(LOOPS, ("cells",)))
def test_equal_steps_are_the_step_of_a_stream(name: str) -> None:
    declaration, module, model = traced(LOOPS[name])
    assert [node.op_type for node in model.graph].count("Scan") == (2 if name == "cells" else 1)
    frames = drawn()
    found = ran(step_graph(model, declaration, 32), frames)
    for t in range(FRAMES):
        right = given(module, frames[:, : t + 1])
        np.testing.assert_allclose(found[:, t], right if right.ndim == 2 else right[:, -1], atol=1e-6)


class Alternating(Looped):
    def loop(self, x: Tensor) -> Tensor:
        h, rows = x.new_zeros(len(x), WIDTH), []
        for t in range(x.shape[1]):
            h = torch.tanh(self.other(h) + x[:, t]) if t % 4 else x[:, t]
            rows.append(h)
        return torch.stack(rows, 1)


class OtherFirst(Looped):
    def loop(self, x: Tensor) -> Tensor:
        h, rows = x.new_zeros(len(x), WIDTH), []
        for t in range(x.shape[1]):
            h = torch.tanh(self.other(h) + x[:, t]) if t else torch.tanh(self.other(x[:, t]))
            rows.append(h)
        return torch.stack(rows, 1)


class Backwards(Looped):
    def loop(self, x: Tensor) -> Tensor:
        h, rows = x.new_zeros(len(x), WIDTH), []
        for t in reversed(range(x.shape[1])):
            h = torch.tanh(self.other(h) + x[:, t])
            rows.append(h)
        return torch.stack(rows[::-1], 1)


class TwoBack(Looped):
    def loop(self, x: Tensor) -> Tensor:
        h, before, rows = x.new_zeros(len(x), WIDTH), x.new_zeros(len(x), WIDTH), []
        for t in range(x.shape[1]):
            h, before = torch.tanh(self.other(before) + x[:, t] * h), h
            rows.append(h)
        return torch.stack(rows, 1)


class Weighed(Looped):
    def loop(self, x: Tensor) -> Tensor:
        h, rows = x.new_zeros(len(x), WIDTH), []
        for t in range(x.shape[1]):
            h = torch.tanh(self.other(h) + x[:, t] / (1 + t))
            rows.append(h)
        return torch.stack(rows, 1)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "every fourth step": (Alternating, "does something else at about frame"),
    "the first step": (OtherFirst, "begins with another step than it goes on with"),
    "backwards": (Backwards, "runs another way than from the first to the last"),
    "a number for each step": (Weighed, "takes something else at about frame"),
    "two steps back": (TwoBack, "takes something else at about frame"),
}


@pytest.mark.parametrize("name", thorough_but(REFUSED, ("the first step",)))
def test_other_steps_are_refused(name: str) -> None:
    build, sentence = REFUSED[name]
    with pytest.raises(
        UserError, match=rf"freezes axis seq of frames to 9 \(its loop over frames {sentence}"
    ):
        traced(build)
