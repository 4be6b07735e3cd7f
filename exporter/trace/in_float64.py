"""A module whose trace is that of float64 throughout, as the oracle runs it: what it computes once is not rounded.

A graph of float32 holds numbers that were rounded on the way to it: what the module's code writes (0.1), and what is
computed of its parameters and of positions. Far into a stream sine and cosine make much of that.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from temport.exporter.declare.call import own
from temport.exporter.declare.copied import copied
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.own_type import OwnType
from temport.exporter.declare.values import INTEGERS
from temport.exporter.onnx_source.module import OnnxModule

FLOAT64 = torch.float64


class InFloat64(nn.Module):
    """A module of float64: where its code names float32 it means that, as in `runtimes/widened.py`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        before = torch.get_default_dtype()
        torch.set_default_dtype(FLOAT64)
        try:
            with OwnType(torch.float32, FLOAT64):
                result: tuple[Tensor, ...] = self.model(*tensors)
                return result
        finally:
            torch.set_default_dtype(before)


def in_float64(module: nn.Module, declaration: Declaration) -> tuple[nn.Module, Declaration]:
    """A copy of the module to be traced, with the declaration of what it takes then."""
    made = copied(module, FLOAT64)
    inputs = tuple(
        spec if spec.dtype in ("bool", *INTEGERS) else replace(spec, dtype="float64")
        for spec in declaration.inputs
    )
    return made if isinstance(own(made), OnnxModule) else InFloat64(made), replace(declaration, inputs=inputs)
