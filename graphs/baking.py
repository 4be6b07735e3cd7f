"""Tensors that depend only on parameters and on positions 0..n-1, and how they become constants.

An averaging kernel, a table of sines or a causal rule is the same for every input. While a model trains it is
computed on the fly, so that gradients reach its parameters; before an export `bake` freezes it, so that the
traced graph holds one constant (and a slice of it where the length is symbolic) instead of the arithmetic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn


class LengthTable(nn.Module, ABC):
    """A tensor over positions 0..n-1; a subclass says how to compute it and how to cut it shorter.

    Frozen values live in a buffer that is not part of the state_dict. They are dropped by `train()` and by
    `load_state_dict`, after which they would no longer match the parameters.
    """

    baked: Tensor | None
    like: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("baked", None, persistent=False)
        self.register_buffer("like", torch.empty(0), persistent=False)  # has the model's dtype and device

    @abstractmethod
    def compute(self, length: int) -> Tensor:
        """The table for positions 0..length-1, in float64 (or bool for a mask)."""

    def cut(self, table: Tensor, length: int) -> Tensor:
        """The table of `length` positions taken out of a longer one; positions are the first axis here."""
        return table[:length]

    def forward(self, length: int) -> Tensor:
        """The table for `length` positions in the model's dtype (masks: bool)."""
        if self.baked is None:
            return self._cast(self.compute(length))
        if isinstance(length, int):
            if length > self.baked_length:
                raise ValueError(
                    f"this model was baked for at most {self.baked_length} frames and got {length}; "
                    "bake it again with a larger max_length"
                )
            if length == self.baked_length:
                return self.baked
        return self.cut(self.baked, length)

    def bake(self, length: int) -> None:
        """Compute in float64 and freeze in the model's dtype (masks: bool)."""
        with torch.no_grad():
            self.baked = self._cast(self.compute(length))
        self.baked_length = length

    def _cast(self, table: Tensor) -> Tensor:
        return table.to(self.like.dtype) if table.is_floating_point() else table

    def train(self, mode: bool = True) -> LengthTable:
        if mode:
            self.baked = None
        super().train(mode)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.baked = None
        super()._load_from_state_dict(*args, **kwargs)


def bake(model: nn.Module, max_length: int) -> None:
    """Freeze every length table of `model` for sequences of up to `max_length` frames.

    Tables are rounded to the dtype that the model has now, so choose the dtype first and bake afterwards.
    Raises ValueError in training mode, where a frozen table would go stale with the first optimiser step.
    """
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before baking its tables")
    if max_length < 1:
        raise ValueError(f"max_length is {max_length}; a table needs at least 1 frame")
    for module in model.modules():
        if isinstance(module, LengthTable):
            module.bake(max_length)
