"""A module none of whose tensors lies in the memory of another: each can then be rounded by itself."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from temport.exporter.compress.sums import tensors_of


def with_own_memory(module: nn.Module) -> nn.Module:
    """A copy of `module` where a tensor that is a view of another, or an expanded one, holds its own numbers; `module`
    itself where there is none.

    Whoever converts a module to float64 parts such tensors too, so what one becomes must not depend on the other. A
    tensor under several names stays one.
    """
    if not _sharing(module):
        return module
    made = copy.deepcopy(module)
    with torch.no_grad():
        for tensor in _sharing(made):
            tensor.data = tensor.detach().clone(memory_format=torch.contiguous_format)
    return made


def _sharing(module: nn.Module) -> list[Tensor]:
    """All but the first of those that share memory, and those that share it with themselves."""
    seen: set[int] = set()
    found = []
    for tensor in tensors_of(module).values():
        memory = tensor.untyped_storage().data_ptr()
        expanded = any(
            step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True)
        )
        if tensor.numel() and (memory in seen or expanded):
            found.append(tensor)
        seen.add(memory)
    return found
