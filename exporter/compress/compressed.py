"""A copy of a module whose weights are what fewer bits hold."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from temport.exporter.compress.sums import tensors_of
from temport.exporter.errors import UserError
from temport.exporter.graph.quantised import quantised


def compressed(module: nn.Module, axes: Mapping[str, int], kinds: Mapping[str, str]) -> nn.Module:
    """`module` with the weights named in `kinds` quantised along their axis of inputs; `module` stays as it is.

    UserError for one that the type does not hold.
    """
    made = copy.deepcopy(module)
    tensors = tensors_of(made)
    with torch.no_grad():
        for name, kind in kinds.items():
            tensors[name].copy_(weight_in(name, tensors[name], axes[name], kind))
    return made


def weight_in(name: str, weight: Tensor, axis: int, kind: str) -> Tensor:
    """One weight in a type, as float32. UserError for one that the type does not hold."""
    if not weight.isfinite().all():
        raise UserError(f"weight {name} holds infinity or NaN, which no type of fewer bits does")
    try:
        return torch.from_numpy(quantised(weight.detach().numpy(), axis, kind).copy())
    except ValueError as error:
        raise UserError(f"weight {name} cannot be {kind}: {error}; use --weights-dtype int8") from error
