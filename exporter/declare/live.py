"""A live module and example inputs, as Python hands them over, to the inputs of a `Declaration`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import GraphModule

from temport.exporter.declare.declaration import DYNAMIC_BATCH, DYNAMIC_SEQ, Axis, TensorSpec
from temport.exporter.declare.structured import parts_of
from temport.exporter.declare.values import INTEGERS, Values
from temport.exporter.errors import UserError, did_you_mean

Range = int | tuple[int, int, int]
"""The size of an axis, or its least, usual and largest size."""


def input_specs(
    model: nn.Module,
    examples: Any,
    axes: Mapping[str, Mapping[int, str]] | None = None,
    ranges: Mapping[str, Range] | None = None,
) -> tuple[TensorSpec, ...]:
    """The inputs that examples show.

    examples  name -> tensor or array, or one dictionary or list of them more; or a tuple in the order of `forward`.
              Integers take the range of values that the example has
    axes      name -> place -> name of an axis whose size is open; every other axis keeps the example's size
    ranges    size or `(min, opt, max)` of a named axis; by default from 1 to 64 (batch) or 1024, and as the example
    """
    tensors = dict(flat(by_name(model, examples)))
    if not tensors:
        raise UserError('a live module needs example inputs, such as {"frames": torch.zeros(1, 60, 24)}')
    axes, ranges = axes or {}, ranges or {}
    if unknown := [name for name in axes if name not in tensors]:
        raise UserError(f"axes names the input {unknown[0]!r}; {did_you_mean(unknown[0], tensors)}")
    known: dict[str, Axis] = {}
    for name, tensor in tensors.items():
        for place, axis in axes.get(name, {}).items():
            if not -tensor.ndim <= place < tensor.ndim:
                raise UserError(f"axes names axis {place} of {name}, which has {tensor.ndim}")
            known.setdefault(axis, _axis(axis, tensor.shape[place], ranges))
    if unknown := [name for name in ranges if name not in known]:
        raise UserError(f"ranges names the axis {unknown[0]!r}, and axes names {', '.join(known) or 'none'}")
    return tuple(_spec(name, tensor, axes.get(name, {}), known) for name, tensor in tensors.items())


def source_of(model: nn.Module) -> str:
    """How a report calls the module: `module:Class`."""
    if isinstance(model, GraphModule):
        return "torch.export:ExportedProgram"
    return f"{type(model).__module__}:{type(model).__qualname__}"


def by_name(model: nn.Module, examples: Any) -> Mapping[str, Any]:
    """What is given to each parameter of `forward`."""
    if isinstance(examples, Mapping):
        return examples
    given = list(examples) if isinstance(examples, (tuple, list)) else [examples]
    usual = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    names = [p.name for p in inspect.signature(model.forward).parameters.values() if p.kind in usual]
    if len(given) > len(names):
        raise UserError(
            f"{len(given)} examples are given and forward takes {len(names)}; name them in a dictionary"
        )
    return dict(zip(names, given, strict=False))


def flat(examples: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor with its name: keys, fields and places joined by dots. None is left out."""
    for key, value in examples.items():
        name = f"{place}.{key}" if place else str(key)
        if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
            yield name, value
        elif (parts := parts_of(value)) is not None:
            yield from flat({str(key): part for key, part in parts}, name)
        elif value is not None:
            raise UserError(f"example {name} is {type(value).__name__}; give a torch tensor or a numpy array")


def _axis(name: str, example: int, ranges: Mapping[str, Range]) -> Axis:
    given = ranges.get(name)
    if given is None:
        low, _, high = DYNAMIC_BATCH if name == "batch" else DYNAMIC_SEQ
        return Axis(name, min(low, example), example, max(high, example))
    return in_range(name, given)


def in_range(name: str, given: Range) -> Axis:
    """The axis of that size, or of these sizes."""
    if isinstance(given, int):
        return Axis(name, given, given, given)
    try:
        low, opt, high = (int(size) for size in given)
    except (TypeError, ValueError) as error:
        raise UserError(f"the range of axis {name} is {given!r}; give a size or (min, opt, max)") from error
    return Axis(name, low, opt, high)


def _spec(name: str, tensor: Any, named: Mapping[int, str], axes: Mapping[str, Axis]) -> TensorSpec:
    dtype = str(tensor.dtype).removeprefix("torch.")
    at = {place % tensor.ndim: axes[axis] for place, axis in named.items()}
    shape: Sequence[Axis | int] = [at.get(place, int(size)) for place, size in enumerate(tensor.shape)]
    values = None
    if dtype in INTEGERS and np.prod(tensor.shape):
        values = Values(str(int(tensor.min())), str(int(tensor.max()) + 1))
    return TensorSpec(name, dtype, tuple(shape), values)
