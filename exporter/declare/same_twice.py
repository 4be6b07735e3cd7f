"""A module that gives two results for one input cannot be compared with anything: it is named, with what does it."""

from __future__ import annotations

import traceback
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from temport.exporter.declare.call import Called
from temport.exporter.declare.declaration import TensorSpec
from temport.exporter.declare.observe import drawn
from temport.exporter.errors import UserError, own_line, users_code


class RandomOps(TorchDispatchMode):
    """Remembers the first operator that draws random numbers, and the user's line that calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.found = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.found and torch.Tag.nondeterministic_seeded in func.tags:
            self.found = f"{func}".removesuffix(".default") + own_line(traceback.extract_stack())
        return func(*args, **(kwargs or {}))


def check_same_twice(module: Called, inputs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
    """UserError for a module that is random, or whose result changes with every call; a note on buffers that do."""
    sizes = {axis.name: axis.opt for spec in inputs for axis in spec.axes()}
    tensors = drawn(inputs, sizes)
    with torch.no_grad(), users_code("the module fails when it is called once more"):
        module(*tensors)  # what is filled at the first call stays as it is then
        before = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
        with RandomOps() as ops:
            first = module(*tensors)
        second = module(*tensors)
    changed = [
        name.removeprefix("model.")
        for name, buffer in module.named_buffers()
        if name not in before or not _equal(buffer, before[name])
    ]
    if all(_equal(a, b) for a, b in zip(first, second, strict=True)):
        return tuple(
            f"forward changes its buffer {name}, which the exported graph does not do" for name in changed
        )
    if ops.found:
        raise UserError(
            f"the module is random: two calls with the same input differ, by {ops.found}, so nothing can be compared "
            "with it; return what the distribution is made of, such as the mean, or take the noise as an input"
        )
    if changed:
        raise UserError(
            f"the module changes its buffer {changed[0]} with every call, so two calls with the same input differ, and "
            "an exported graph has no memory; take it as an input and return what it becomes"
        )
    raise UserError(
        "two calls of the module with the same input differ, so nothing can be compared with it; "
        "give one that keeps no state between calls"
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or not a.is_floating_point():
        return torch.equal(a, b)
    return bool(((a == b) | (a.isnan() & b.isnan())).all())
