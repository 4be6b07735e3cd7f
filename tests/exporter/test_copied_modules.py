"""Modules that hold tensors outside of parameters and buffers, or computed from them: copied, converted, exported."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, weight_norm

import temport
from temport.exporter.declare.copied import copied
from temport.exporter.errors import UserError


class Noise:
    """As the distribution of a policy with state-dependent exploration keeps it."""

    def __init__(self, log_std: Tensor) -> None:
        self.matrix = log_std.exp() * 2
        self.seen = [log_std + 1]


class Holds(nn.Module):
    """A tensor with a history in every place where a module can have one, and weights that others make."""

    def __init__(self) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(4, 4))
        self.noise = Noise(self.log_std)
        self.register_buffer("doubled", self.log_std * 2)
        self.register_buffer("learned", torch.randn(4, requires_grad=True))
        self.table = torch.randn(4, 4)
        self.register_buffer("turn", torch.polar(torch.ones(4), torch.arange(4.0)))
        self.cache = {"once": self.log_std.softmax(-1)}
        self.old = weight_norm(nn.Conv1d(4, 4, 3, padding=1))
        self.new = parametrizations.orthogonal(nn.Linear(4, 4))
        self.new.register_forward_hook(self.halve)

    def halve(self, layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> Tensor:
        return result * self.noise.matrix[0, 0] / 4

    def forward(self, x: Tensor) -> Tensor:
        turn = torch.view_as_real(self.turn)  # of complex numbers, which follow no type
        y = self.new(x @ self.table * turn[:, 0] + turn[:, 1] + self.doubled[0] + self.learned)
        y = y @ self.noise.matrix @ self.cache["once"] + self.noise.seen[0][0]
        return self.old(y.transpose(1, 2)).transpose(1, 2)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_tensors_with_a_history_are_the_numbers_that_they_hold(tmp_path) -> None:
    torch.manual_seed(0)
    model = Holds()
    made = copied(model, torch.float64)
    x = torch.randn(2, 5, 4)
    with torch.no_grad():
        np.testing.assert_allclose(made(x.double()), model(x).double(), rtol=0, atol=1e-5)
    assert made.noise.matrix.dtype == made.cache["once"].dtype == made.table.dtype == torch.float64
    assert made.noise.matrix is not model.noise.matrix and model.noise.matrix.requires_grad
    bundle = temport.export(
        model, {"x": x}, axes={"x": {1: "seq"}}, runtimes=("onnxruntime_cpu",), out=tmp_path / "bundle"
    )
    assert bundle.passed
    assert nn.utils.parametrize.is_parametrized(model.new), "the caller's module stays as it was"
    session = temport.load(bundle.path)
    np.testing.assert_allclose(session({"x": x.numpy()})["output"], model(x).detach(), rtol=0, atol=1e-5)


def test_what_has_no_copy_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].lock = threading.Lock()
    with pytest.raises(
        UserError, match=r"cannot be copied \(TypeError: cannot pickle .*; keep 0.lock outside of it"
    ):
        temport.export(model, {"input": torch.zeros(1, 3)})
