"""A half-precision module that computes in another type: where its code names its half type, it means its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CASTS = {Tensor.half: torch.float16, Tensor.bfloat16: torch.bfloat16}


class OwnType(TorchFunctionMode):
    """While it lasts, `x.half()` and `dtype=torch.float16` give the type `own`, where `named` is that half type."""

    def __init__(self, named: torch.dtype, own: torch.dtype) -> None:
        super().__init__()
        self.named, self.own = named, own

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _CASTS.get(func) is self.named:
            return args[0].to(self.own)
        kwargs = {name: self._meant(value) for name, value in (kwargs or {}).items()}
        return func(*map(self._meant, args), **kwargs)

    def _meant(self, argument: Any) -> Any:
        return self.own if argument is self.named else argument
