"""A copy of a user's module that shares nothing with it, whatever tensors it holds and wherever it holds them."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from temport.exporter.declare.call import Called
from temport.exporter.errors import UserError
from temport.plugins import first_line

Module = TypeVar("Module", bound=nn.Module)


def copied(module: Module, *types: torch.dtype) -> Module:
    """The copy, its floating-point tensors converted to each of `types` in turn.

    A tensor that was computed from parameters, as weight normalisation or a policy's noise matrix is, is copied as the
    numbers that it holds; torch refuses to copy one. A tensor that is no parameter and no buffer follows the type too:
    it is part of what the module computes.

    UserError where something in the module has no copy, such as a lock or an open file, with its place.
    """
    try:
        with _Numbers(types):
            made = copy.deepcopy(module)
    except Exception as error:  # whatever the user's objects raise in theirs
        place = _uncopied(module)
        raise UserError(
            f"the module cannot be copied ({first_line(error)}); keep {place or 'that'} outside of it"
        ) from error
    for kind in types:
        # not by `made.to(kind)`, which makes real numbers of complex ones
        made._apply(lambda tensor, kind=kind: tensor.to(kind) if tensor.is_floating_point() else tensor)
    if types:
        _keep_singles(module, made, torch.float32 if types[-1].itemsize < 4 else types[-1])
    return made


def moved(module: nn.Module, eps: float, draw: int) -> nn.Module:
    """A float64 copy with each weight off by up to half a unit in the last place of a type with that `eps`."""
    generator = torch.Generator().manual_seed(draw)
    made = copied(module, torch.float64)
    for tensor in (*made.parameters(), *made.buffers()):
        if tensor.is_floating_point():
            error = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) - 0.5
            tensor.data = tensor.data * (1 + eps * error)
    return made


def held(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, those among them that no file of weights holds."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _keep_singles(module: nn.Module, made: nn.Module, kind: torch.dtype) -> None:
    """What is float32 in a half-precision module was rounded with the rest: it becomes what it was, as `kind`."""
    for path, part in module.named_modules():
        if isinstance(part, Called) and part.singles:
            before, after = held(part), held(made.get_submodule(path))
            for name in part.singles:
                after[name].data = before[name].detach().to(kind, copy=True)


class _Numbers(TorchFunctionMode):
    """While it lasts, a deep copy of a tensor that has a history is one without."""

    def __init__(self, types: tuple[torch.dtype, ...]) -> None:
        super().__init__()
        self.types = types

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) in memo:
            return memo[id(tensor)]
        made = func(tensor, memo) if tensor.is_leaf else tensor.detach().clone()
        if made.is_floating_point():
            for kind in self.types:
                made = made.detach().to(kind)
        memo[id(tensor)] = made
        return made


def _uncopied(module: nn.Module) -> str:
    """The first attribute that has no copy, by its path from the module; empty where each alone has one."""
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name != "_modules":
                try:
                    with _Numbers(()):
                        copy.deepcopy(value)
                except Exception:
                    return f"{path}.{name}" if path else name
    return ""
