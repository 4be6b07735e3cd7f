"""Weights that a parametrization computes from others become the numbers that it gives: inputs have no part in them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize


@torch.no_grad()
def settle_parametrizations(module: nn.Module) -> None:
    """Once, in place: an orthogonal weight takes a matrix exponential, which ONNX has not and no model needs twice.

    Not by torch's `remove_parametrizations`, which changes the class, and a module shares that with its copies.
    """
    for part in module.modules():
        if parametrize.is_parametrized(part):
            names: list[str] = list(part.parametrizations)  # type: ignore[arg-type]  # it is a dictionary of modules
            values = {name: nn.Parameter(getattr(part, name), requires_grad=False) for name in names}
            plain = parametrize.type_before_parametrizations(part)
            del part.parametrizations
            part.__class__ = plain
            for name, value in values.items():
                setattr(part, name, value)
